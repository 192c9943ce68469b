"""Compares a converted GGUF model with `transformers` on the same file: greedy continuations, and the loss of a text.

    model=$(scripts/fetch_smollm2)
    build/cpu/switchyard convert $model runs/smollm2
    python scripts/goldens/compare_gguf.py $model runs/smollm2 --switchyard build/cpu/switchyard

transformers dequantises with llama.cpp's `gguf` package and undoes the permutation of rows by code of its own, so that
names, values and order are all checked. It takes the token ids of the converted tokenizer.json (read by `tokenizers`):
its own reader of GGUF tokenizers ignores how the file says digits are split. Exits with 1 if a continuation or the loss
(1e-4 relative) differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

PROMPTS = ["The capital of France is", "Once upon a time, in 1987,", "def add(a, b):\n    return"]
TEXT = Path(__file__).resolve().parents[2] / "docs" / "layouts.md"
NEW_TOKENS = 24
WINDOW = 256


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("--switchyard", default="build/cpu/switchyard")
    args = parser.parse_args()
    where = {"pretrained_model_name_or_path": str(args.gguf.parent), "gguf_file": args.gguf.name}
    tokenizer = Tokenizer.from_file(str(Path(args.checkpoint) / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    different = 0

    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False).ids])
        out = model.generate(ids, do_sample=False, max_new_tokens=NEW_TOKENS)[0, ids.shape[1] :]
        expected = prompt + tokenizer.decode(out.tolist(), skip_special_tokens=True) + "\n"
        ours = subprocess.run([args.switchyard, "generate", args.checkpoint, "--prompt", prompt, "--temperature", "0",
                               "--max-new-tokens", str(NEW_TOKENS)], check=True, capture_output=True, text=True).stdout
        same = ours == expected
        different += not same
        print("same" if same else f"DIFFERENT from {expected!r}:", repr(ours))

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(TEXT.read_text()[:4000])
        subprocess.run([args.switchyard, "eval", args.checkpoint, "--text", text, "--seq-length", str(WINDOW), "--json",
                        Path(folder) / "scores.json"], check=True)
        ours = json.loads((Path(folder) / "scores.json").read_text())["text"]
        ids = tokenizer.encode(text.read_text(), add_special_tokens=False).ids
    stream = torch.tensor([model.config.eos_token_id, *ids, model.config.eos_token_id])
    nats, targets, scored = 0.0, len(stream) - 1, 0
    while scored < targets:
        end = min(targets, scored + WINDOW)
        begin = max(0, end - WINDOW)
        with torch.no_grad():
            log_probs = model(stream[None, begin:end]).logits[0].double().log_softmax(-1)
        picked = log_probs.gather(1, stream[begin + 1 : end + 1, None])[scored - begin :]
        nats, scored = nats - picked.sum().item(), end
    loss = nats / targets
    print(f"loss {ours['loss']:.7f} over {ours['tokens']} tokens, transformers {loss:.7f} over {targets}")
    different += ours["tokens"] != targets or abs(ours["loss"] - loss) > 1e-4 * loss
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
