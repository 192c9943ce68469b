"""Writes the case directory that hf_mixtral.py, torch_sorted.py and `switchyard bench step` read (format: case.py).

Run from the repository root, with the packages of benchmarks/peers/requirements.txt:
    python benchmarks/peers/make_case.py [--case build/peers_case]

Weights: normal with the config's initializer_range, norms one. Tokens: with probability 3/4 the fixed successor of the
token before, otherwise a draw from a 1/rank distribution, so that there is something to learn within 20 steps.
"""

import json

import numpy
import safetensors.torch
import torch

from case import CONFIG, TRAINING, arguments


def initial_weights(config, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden, width, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]

    def normal(*shape):
        return torch.randn(*shape, generator=generator) * config["initializer_range"]

    weights = {"model.embed_tokens.weight": normal(config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}.{name}.weight"] = torch.ones(hidden)
        q_rows, kv_rows = (config[k] * head_dim for k in ("num_attention_heads", "num_key_value_heads"))
        for name, rows, columns in (("q", q_rows, hidden), ("k", kv_rows, hidden), ("v", kv_rows, hidden),
                                    ("o", hidden, q_rows)):
            weights[f"{prefix}.self_attn.{name}_proj.weight"] = normal(rows, columns)
        moe = f"{prefix}.block_sparse_moe"
        weights[f"{moe}.gate.weight"] = normal(config["num_local_experts"], hidden)
        for e in range(config["num_local_experts"]):
            for name, rows, columns in (("w1", width, hidden), ("w3", width, hidden), ("w2", hidden, width)):
                weights[f"{moe}.experts.{e}.{name}.weight"] = normal(rows, columns)
    weights["model.norm.weight"] = torch.ones(hidden)
    weights["lm_head.weight"] = normal(config["vocab_size"], hidden)
    return weights


def token_stream(vocab, batches, batch, length, seed):
    random = numpy.random.default_rng(seed)
    successor = random.permutation(vocab)
    frequency = 1.0 / (1.0 + numpy.arange(vocab))
    fresh = random.choice(vocab, size=(batches, batch, length), p=frequency / frequency.sum())
    follows = random.random((batches, batch, length)) < 0.75
    tokens = fresh.copy()
    for position in range(1, length):
        tokens[..., position] = numpy.where(follows[..., position], successor[tokens[..., position - 1]],
                                            fresh[..., position])
    return tokens.astype("<i4")


def main():
    directory = arguments(__doc__).parse_args().case
    directory.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(initial_weights(CONFIG, TRAINING["seed"]), directory / "weights.safetensors",
                                metadata={"format": "pt"})
    token_stream(CONFIG["vocab_size"], TRAINING["steps"] + 1, TRAINING["batch"], TRAINING["sequence"] + 1,
                 TRAINING["seed"]).tofile(directory / "tokens.bin")
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (directory / "case.json").write_text(json.dumps(TRAINING, indent=2) + "\n")
    print(f"wrote {directory}")


if __name__ == "__main__":
    main()
