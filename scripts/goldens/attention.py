"""Goldens of kernels/attention: causal grouped-query attention with document masking, and attention over a cache.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/attention.py
"""

import torch

from golden import Inputs, gradients, write_op


def masked_attention(q, k, v, allowed, scale):
    """q [heads, queries, dim], k and v [heads, keys, dim], allowed [queries, keys] bool -> o, lse [heads, queries]."""
    s = (scale * q @ k.transpose(1, 2)).masked_fill(~allowed, float("-inf"))
    return torch.softmax(s, dim=-1) @ v, torch.logsumexp(s, dim=-1)


def causal(name, seed, document_lengths, heads, kv_heads, head_dim, max_span, ld):
    """Documents of the given lengths lie one after the other; a token sees its own document's tokens up to itself."""
    source = Inputs(seed)
    tokens = sum(document_lengths)
    scale = head_dim**-0.5
    qkv = source.normal(tokens, ld, std=1.5).requires_grad_()
    first_key, start = [], 0
    for length in document_lengths:
        first_key += [start] * length
        start += length
    first_key = torch.tensor(first_key)
    grad_o = source.normal(tokens, heads * head_dim)

    q_end, k_end, v_end = (n * head_dim for n in (heads, heads + kv_heads, heads + 2 * kv_heads))
    q = qkv[:, :q_end].view(tokens, heads, head_dim).transpose(0, 1)
    k = qkv[:, q_end:k_end].reshape(tokens, kv_heads, head_dim).transpose(0, 1)
    v = qkv[:, k_end:v_end].reshape(tokens, kv_heads, head_dim).transpose(0, 1)
    k, v = (x.repeat_interleave(heads // kv_heads, dim=0) for x in (k, v))
    key, query = torch.arange(tokens)[None, :], torch.arange(tokens)[:, None]
    o, lse = masked_attention(q, k, v, (key >= first_key[:, None]) & (key <= query), scale)
    o = o.transpose(0, 1).reshape(tokens, heads * head_dim)
    (dqkv,) = gradients(o, grad_o, qkv)
    write_op(
        name,
        dict(qkv=qkv, first_key=first_key, o=o, lse=lse.transpose(0, 1), grad_o=grad_o, dqkv=dqkv),
        tokens=tokens, heads=heads, kv_heads=kv_heads, head_dim=head_dim, ld=ld, max_span=max_span, scale=scale,
    )


def cached():
    """query_count new tokens per row over a cache whose unused positions hold numbers that must not be read."""
    source = Inputs(23)
    batch, query_count, capacity, heads, kv_heads, head_dim = 3, 2, 9, 4, 2, 8
    scale = head_dim**-0.5
    q = source.normal(batch * query_count, heads * head_dim)
    k = source.normal(batch, capacity, kv_heads * head_dim)
    v = source.normal(batch, capacity, kv_heads * head_dim)
    past = torch.tensor([0, 4, 7])
    rows = []
    for b in range(batch):
        q_b = q[b * query_count : (b + 1) * query_count].view(query_count, heads, head_dim).transpose(0, 1)
        k_b, v_b = (x[b].view(capacity, kv_heads, head_dim).transpose(0, 1).repeat_interleave(heads // kv_heads, dim=0)
                    for x in (k, v))
        position = past[b] + torch.arange(query_count)
        o, _ = masked_attention(q_b, k_b, v_b, torch.arange(capacity)[None, :] <= position[:, None], scale)
        rows.append(o.transpose(0, 1).reshape(query_count, heads * head_dim))
    write_op(
        "cached_attention",
        dict(q=q, k=k, v=v, past=past, o=torch.cat(rows)),
        batch=batch, query_count=query_count, capacity=capacity, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        scale=scale,
    )


if __name__ == "__main__":
    # Two sequences of 9 tokens; the first holds three documents, one of a single token; ld leaves 4 unused columns.
    causal("causal_attention", 21, [3, 1, 5, 9], heads=4, kv_heads=2, head_dim=8, max_span=9, ld=68)
    # Documents longer than a key block of 64, and boundaries inside blocks.
    causal("causal_attention_long", 22, [150, 23, 30], heads=2, kv_heads=1, head_dim=16, max_span=150, ld=64)
    cached()
