"""Goldens of GGUF files: what the `gguf` package of llama.cpp writes and how it dequantises.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/gguf_golden.py

tests/golden/gguf/blocks.gguf: one tensor per supported type, named by it, and metadata of every type; blocks.safetensors:
the same tensors as f32. Q6_K, which the package cannot write, holds random bytes under sane scales.
tests/golden/gguf/llama.gguf and llama_bf16.gguf: the models of tests/golden/families/llama_shards and llama_bf16, named
and ordered as llama.cpp's converter does, the first with the tokenizer of tests/golden/tokenizers/smollm.json.
"""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, RopeScalingType, dequantize, quantize
from safetensors.numpy import save_file

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
OUT = GOLDEN / "gguf"
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q6_K"]


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def blocks():
    rng = np.random.default_rng(7)
    values = (rng.standard_normal((3, 512)) * np.exp2(rng.integers(-12, 6, (3, 512)))).astype(np.float32)
    values[0, :32] = 0  # a block whose scale is zero
    writer = GGUFWriter(OUT / "blocks.gguf", "blocks")
    for name, value in {"u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4_000_000_000, "i32": -2_000_000_000,
                        "u64": 2**64 - 1, "i64": -(2**63)}.items():
        getattr(writer, "add_" + {"u": "uint", "i": "int"}[name[0]] + name[1:])(name, value)
    writer.add_float32("f32", 0.1)
    writer.add_float64("f64", 0.1)
    writer.add_bool("bool", True)
    writer.add_string("text", "Wörter")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("texts", ["a", "", "bc"])
    expected = {}
    for name in TYPES:
        kind = GGMLQuantizationType[name]
        if name == "Q6_K":
            raw = rng.integers(0, 256, (3, 2, 210), dtype=np.uint8)
            raw[..., 208:] = (rng.random((3, 2, 1)) * 0.01).astype(np.float16).view(np.uint8)
            raw = raw.reshape(3, -1)
        else:
            raw = quantize(values, kind)
        expected[name] = dequantize(raw, kind).astype(np.float32)
        writer.add_tensor(name, raw, raw_dtype=kind)
    write(writer)
    save_file(expected, OUT / "blocks.safetensors")


def read_safetensors(folder):
    """Name -> (dtype text, shape, bytes): numpy has no bf16."""
    tensors = {}
    for path in folder.glob("model*.safetensors"):
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:end]).items():
            if name != "__metadata__":
                a, b = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[end + a : end + b])
    return tensors


def gguf_name(name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k",
             "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
             "down_proj": "ffn_down"}
    words = name.split(".")
    return f"blk.{words[2]}.{parts[words[-2]]}.weight"


def llama(case, file, with_tokenizer):
    config = json.loads((GOLDEN / "families" / case / "config.json").read_text())
    writer = GGUFWriter(OUT / file, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if with_tokenizer:
        tokenizer = json.loads((GOLDEN / "tokenizers" / "smollm.json").read_text())
        special = {t["id"]: t for t in tokenizer["added_tokens"]}
        vocab = {text: id for text, id in tokenizer["model"]["vocab"].items()} | {t["content"]: i for i, t in special.items()}
        tokens = [text for text, _ in sorted(vocab.items(), key=lambda item: item[1])]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        writer.add_token_types([(3 if special[i]["special"] else 4) if i in special else 1 for i in range(len(tokens))])
        writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
        writer.add_add_bos_token(True)
    for name, (dtype, shape, raw) in read_safetensors(GOLDEN / "families" / case).items():
        array = np.frombuffer(raw, np.float32 if dtype == "F32" else np.uint16).reshape(shape)
        n = heads if "q_proj" in name else kv_heads if "k_proj" in name else 0
        if n:  # as llama.cpp's convert_hf_to_gguf.py permutes
            array = array.reshape(n, 2, shape[0] // n // 2, shape[1]).swapaxes(1, 2).reshape(shape)
        kind = GGMLQuantizationType[dtype]
        if dtype == "BF16":
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(array).view(np.uint8), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(array))
    write(writer)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    blocks()
    llama("llama_shards", "llama.gguf", with_tokenizer=True)
    llama("llama_bf16", "llama_bf16.gguf", with_tokenizer=False)
