"""Peer: the same model in plain PyTorch, tokens sorted by expert, one matrix product per expert and projection, f32.

Run from the repository root, after make_case.py, with the packages of benchmarks/peers/requirements.txt:
    python benchmarks/peers/torch_sorted.py [--threads 2] [--case build/peers_case]

Prints one JSON line (case.py). What a careful PyTorch user would write: fused qkv and gate|up projections, sdpa, one
parameter per expert (indexing a stacked one makes autograd build a full-size zero gradient per expert), no scatter.
Shapes: B samples, S positions, T = B*S tokens, D hidden, F expert width, E experts, K per token, N = T*K assignments.
"""

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from case import arguments, load, train_and_report


class Attention(nn.Module):
    def __init__(self, config, weights, prefix):
        super().__init__()
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_dim = config["head_dim"]
        self.qkv = nn.Parameter(torch.cat([weights[f"{prefix}.{name}_proj.weight"] for name in "qkv"]))
        self.out = nn.Parameter(weights[f"{prefix}.o_proj.weight"])

    def forward(self, x, cos, sin):
        batch, positions, _ = x.shape
        qkv = functional.linear(x, self.qkv).view(batch, positions, -1, self.head_dim)
        rotated, v = qkv.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        first, second = rotated.chunk(2, dim=-1)
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        q, k = rotated.split([self.heads, self.kv_heads], dim=2)
        o = functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                                    is_causal=True, enable_gqa=True)
        return functional.linear(o.transpose(1, 2).reshape(batch, positions, -1), self.out)


class SortedMoe(nn.Module):
    def __init__(self, config, weights, prefix):
        super().__init__()
        self.experts, self.per_token = config["num_local_experts"], config["num_experts_per_tok"]
        self.gate = nn.Parameter(weights[f"{prefix}.gate.weight"])
        names = [f"{prefix}.experts.{e}" for e in range(self.experts)]
        self.gate_up = nn.ParameterList(torch.cat([weights[f"{n}.{w}.weight"] for w in ("w1", "w3")]) for n in names)
        self.down = nn.ParameterList(weights[f"{n}.w2.weight"] for n in names)

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        probability = torch.softmax(functional.linear(tokens, self.gate), dim=-1)
        weight_TK, expert_TK = probability.topk(self.per_token, dim=-1)
        weight_TK = weight_TK / weight_TK.sum(dim=-1, keepdim=True)
        expert_N = expert_TK.flatten()
        order_N = expert_N.argsort(stable=True)
        place_N = torch.empty_like(order_N).scatter_(0, order_N, torch.arange(order_N.numel()))
        counts = torch.bincount(expert_N, minlength=self.experts).tolist()
        rows = tokens[order_N // self.per_token].split(counts)
        out = []
        for e in range(self.experts):
            gate, up = functional.linear(rows[e], self.gate_up[e]).chunk(2, dim=-1)
            out.append(functional.linear(functional.silu(gate) * up, self.down[e]))
        chosen_TKD = torch.cat(out)[place_N].view(-1, self.per_token, tokens.shape[-1])
        return torch.einsum("tk,tkd->td", weight_TK, chosen_TKD).view_as(x)


class Decoder(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        self.epsilon = config["rms_norm_eps"]
        self.embedding = nn.Parameter(weights["model.embed_tokens.weight"])
        self.head = nn.Parameter(weights["lm_head.weight"])
        self.final_norm = nn.Parameter(weights["model.norm.weight"])
        prefixes = [f"model.layers.{i}" for i in range(config["num_hidden_layers"])]
        self.norm1 = nn.ParameterList(weights[f"{p}.input_layernorm.weight"] for p in prefixes)
        self.norm2 = nn.ParameterList(weights[f"{p}.post_attention_layernorm.weight"] for p in prefixes)
        self.attention = nn.ModuleList(Attention(config, weights, f"{p}.self_attn") for p in prefixes)
        self.moe = nn.ModuleList(SortedMoe(config, weights, f"{p}.block_sparse_moe") for p in prefixes)
        dim = config["head_dim"]
        inv_freq = 1.0 / config["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim)
        angle = torch.arange(config["max_position_embeddings"]).float()[:, None] * inv_freq
        self.register_buffer("cos", angle.cos()[None, :, None, :])
        self.register_buffer("sin", angle.sin()[None, :, None, :])

    def normed(self, x, weight):
        return functional.rms_norm(x, weight.shape, weight, self.epsilon)

    def loss(self, inputs, targets):
        x = functional.embedding(inputs, self.embedding)
        cos, sin = self.cos[:, : inputs.shape[1]], self.sin[:, : inputs.shape[1]]
        for norm1, attention, norm2, moe in zip(self.norm1, self.attention, self.norm2, self.moe):
            x = x + attention(self.normed(x, norm1), cos, sin)
            x = x + moe(self.normed(x, norm2))
        logits = functional.linear(self.normed(x, self.final_norm), self.head)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    args = arguments(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    config, training, tokens = load(args.case)
    model = Decoder(config, safetensors.torch.load_file(args.case / "weights.safetensors"))
    train_and_report(model.parameters(), model.loss, tokens, training)


if __name__ == "__main__":
    main()
