"""A small Mixture-of-Experts decoder in plain PyTorch, one function per part, over Hugging Face parameter names.

Runs in the dtype of its parameters from end to end (Hugging Face pins norms, rotation and router scores to f32, which
an f64 golden cannot use). Shapes: B samples, S positions, T = B*S tokens, D hidden, F expert width, E experts, K per
token. `config` has the keys of a Hugging Face config.json; scoring_func is "softmax" or "sigmoid" (DeepSeek's key).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass
class Routing:
    """What one MoE layer decided: logits [T,E], balance probability [T,E], expert [T,K], gap to the next choice [T]."""

    logits: torch.Tensor
    probability: torch.Tensor
    expert: torch.Tensor
    gap: torch.Tensor


def rms_norm(x, weight, epsilon):
    return functional.rms_norm(x, (x.shape[-1],), weight, epsilon)


def rotate(x, theta):
    """x [B,S,H,head_dim]: pairs (i, i + head_dim/2) turned by position * theta^(-2i/head_dim)."""
    positions, half = x.shape[1], x.shape[-1] // 2
    inv_freq = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * inv_freq
    cos, sin = (f(angle).to(x.dtype)[None, :, None, :] for f in (torch.cos, torch.sin))
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attention(p, prefix, config, x):
    heads, kv_heads, head_dim = (config[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    batch, positions, _ = x.shape

    def project(name, count):
        return (x @ p[f"{prefix}.{name}_proj.weight"].T).view(batch, positions, count, head_dim)

    q, k, v = project("q", heads), project("k", kv_heads), project("v", kv_heads)
    if f"{prefix}.q_norm.weight" in p:
        q = rms_norm(q, p[f"{prefix}.q_norm.weight"], config["rms_norm_eps"])
        k = rms_norm(k, p[f"{prefix}.k_norm.weight"], config["rms_norm_eps"])
    q, k = rotate(q, config["rope_theta"]), rotate(k, config["rope_theta"])
    q, k, v = (y.transpose(1, 2) for y in (q, k, v))
    k, v = (y.repeat_interleave(heads // kv_heads, dim=1) for y in (k, v))
    hidden = torch.ones(positions, positions, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(2, 3) * head_dim**-0.5).masked_fill(hidden, float("-inf"))
    out = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(batch, positions, heads * head_dim)
    return out @ p[f"{prefix}.o_proj.weight"].T


def swiglu_mlp(p, prefix, x):
    gate, up = x @ p[f"{prefix}.gate_proj.weight"].T, x @ p[f"{prefix}.up_proj.weight"].T
    return (functional.silu(gate) * up) @ p[f"{prefix}.down_proj.weight"].T


def route(logits, bias, config):
    """-> Routing and combine weights [T,K]; the bias [E] or None acts on the selection only."""
    per_token = config["num_experts_per_tok"]
    if config.get("scoring_func", "softmax") == "sigmoid":
        score = torch.sigmoid(logits)
        probability = score / (score.sum(1, keepdim=True) + 1e-20)
    else:
        score = probability = torch.softmax(logits, dim=1)
    selection = score.detach() if bias is None else score.detach() + bias
    ranked, order = selection.sort(dim=1, descending=True)
    expert = order[:, :per_token]
    weight = score.gather(1, expert)
    if config["norm_topk_prob"]:
        weight = weight / (weight.sum(1, keepdim=True) + 1e-20)
    weight = weight * config.get("routed_scaling_factor", 1.0)
    return Routing(logits, probability, expert, ranked[:, per_token - 1] - ranked[:, per_token]), weight


def moe(p, prefix, config, x, record):
    tokens = x.reshape(-1, x.shape[-1])
    bias = p.get(f"{prefix}.gate.e_score_correction_bias")
    routing, weight = route(tokens @ p[f"{prefix}.gate.weight"].T, bias, config)
    record.append(routing)
    out = torch.zeros_like(tokens)
    for e in range(routing.logits.shape[1]):
        token, slot = torch.where(routing.expert == e)
        y = swiglu_mlp(p, f"{prefix}.experts.{e}", tokens[token])
        out = out.index_add(0, token, y * weight[token, slot, None])
    if config.get("n_shared_experts", 0) > 0:
        out = out + swiglu_mlp(p, f"{prefix}.shared_experts", tokens)
    return out.view_as(x)


def forward(p, config, tokens):
    """tokens [B,S] -> logits [B,S,V] and one Routing per MoE layer, in layer order."""
    record, epsilon = [], config["rms_norm_eps"]
    x = functional.embedding(tokens, p["model.embed_tokens.weight"])
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        normed = rms_norm(x, p[f"{prefix}.input_layernorm.weight"], epsilon)
        x = x + attention(p, f"{prefix}.self_attn", config, normed)
        normed = rms_norm(x, p[f"{prefix}.post_attention_layernorm.weight"], epsilon)
        if f"{prefix}.mlp.gate.weight" in p:
            x = x + moe(p, f"{prefix}.mlp", config, normed, record)
        else:
            x = x + swiglu_mlp(p, f"{prefix}.mlp", normed)
    x = rms_norm(x, p["model.norm.weight"], epsilon)
    head = p["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return x @ head.T, record


def losses(logits, record, targets, coefficients):
    """Cross-entropy (mean over tokens), load-balance and z-loss (each the sum over MoE layers), in that order."""
    cross_entropy = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    balance = z = 0.0
    for routing in record:
        count, experts = routing.expert.shape[0], routing.logits.shape[1]
        chosen = functional.one_hot(routing.expert, experts).sum((0, 1)).to(logits.dtype)
        fraction = chosen / (routing.expert.shape[1] * count)
        balance = balance + coefficients["load_balance"] * experts * (fraction * routing.probability.mean(0)).sum()
        z = z + coefficients["z_loss"] * torch.logsumexp(routing.logits, dim=1).square().mean()
    return cross_entropy, balance, z
