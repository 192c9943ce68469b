"""The training case that Switchyard and its peers share: shape, file formats, and the timed loop of the PyTorch peers.

A case directory (make_case.py writes build/peers_case) holds
    config.json          Hugging Face MixtralConfig
    weights.safetensors  initial f32 weights under the names of Hugging Face Mixtral checkpoints
                         (model.layers.N.block_sparse_moe.experts.E.w1 = gate, .w3 = up, .w2 = down)
    tokens.bin           i32 little-endian [batches, batch, sequence + 1]; step s (from 1) trains on batch s-1:
                         inputs are the first `sequence` tokens of a row, targets the last `sequence`
    case.json            the fields of TRAINING below
A step is forward, backward, clipping of the global gradient norm, AdamW on all parameters (decay included), and nothing
else: constant learning rate, no auxiliary loss. loss_step20 is the mean cross-entropy computed in the forward pass of
step 20, so after 19 updates. tokens_per_second is
batch * sequence over the median time of the steps after the warm-up.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy
import torch

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CASE = ROOT / "build" / "peers_case"

CONFIG = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 8192, "hidden_size": 256,
    "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 256, "initializer_range": 0.02,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "num_local_experts": 8,
    "num_experts_per_tok": 2, "attention_dropout": 0.0, "router_jitter_noise": 0.0, "router_aux_loss_coef": 0.0,
    "output_router_logits": False, "sliding_window": None, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None, "torch_dtype": "float32",
}
TRAINING = {
    "steps": 20, "warmup_steps": 5, "batch": 8, "sequence": 256, "seed": 1234, "learning_rate": 1e-3, "beta1": 0.9,
    "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0,
}


def flops_per_step(config, training):
    """Two per multiply-add of the matrix products, forward and backward; attention over the causal half only."""
    hidden, head_dim = config["hidden_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    experts = config["num_experts_per_tok"] * 3 * hidden * config["intermediate_size"]
    router = hidden * config["num_local_experts"]
    scores = training["sequence"] * heads * head_dim  # q k and p v, each over sequence/2 keys on average
    layers = config["num_hidden_layers"] * (attention + experts + router + scores)
    return 6 * training["batch"] * training["sequence"] * (layers + hidden * config["vocab_size"])


def arguments(description):
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--case", type=Path, default=DEFAULT_CASE)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def load(directory):
    """-> config, training, tokens [batches, batch, sequence+1] as i64."""
    config = json.loads((directory / "config.json").read_text())
    training = json.loads((directory / "case.json").read_text())
    tokens = numpy.fromfile(directory / "tokens.bin", dtype="<i4")
    tokens = tokens.reshape(-1, training["batch"], training["sequence"] + 1)
    if len(tokens) < training["steps"]:
        raise SystemExit(f"{directory}/tokens.bin holds {len(tokens)} batches, {training['steps']} steps need as many")
    return config, training, torch.from_numpy(tokens.astype(numpy.int64))


def train_and_report(parameters, loss_of, tokens, training):
    """Runs the steps; `loss_of(inputs, targets)` gives the mean loss. Prints one JSON line."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(
        parameters, lr=training["learning_rate"], betas=(training["beta1"], training["beta2"]),
        eps=training["epsilon"], weight_decay=training["weight_decay"], fused=True,
    )
    losses, seconds = [], []
    for step in range(training["steps"]):
        batch = tokens[step]
        begin = time.perf_counter()
        loss = loss_of(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    step_seconds = statistics.median(seconds[training["warmup_steps"] :])
    tokens_per_step = training["batch"] * training["sequence"]
    print(json.dumps({
        "tokens_per_second": tokens_per_step / step_seconds, "loss_step20": losses[19],
        "step_seconds": step_seconds, "first_step_seconds": seconds[0], "losses": losses,
    }), flush=True)
