"""Goldens of kernels/dense: rms_norm, rope, embedding, swiglu, linear.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/dense.py
"""

import torch

from golden import Inputs, exact, gradients, write_op


def rms_norm(name, seed, rows, groups, dim, ldx, epsilon):
    """x [rows, ldx], of which the first groups*dim columns are normalised per group; y, dy, dx [rows, groups*dim]."""
    source = Inputs(seed)
    buffer = source.normal(rows, ldx, std=2.0)
    x = buffer[:, : groups * dim].clone().requires_grad_()
    weight = source.normal(dim, std=0.3, mean=1.0).requires_grad_()
    dy = source.normal(rows, groups * dim)
    vectors = x.view(rows, groups, dim)
    y = torch.nn.functional.rms_norm(vectors, (dim,), weight, epsilon).reshape(rows, groups * dim)
    rstd = (vectors.pow(2).mean(-1) + epsilon).rsqrt().reshape(rows * groups)
    dx, dweight = gradients(y, dy, x, weight)
    write_op(
        name,
        dict(x=buffer, weight=weight, y=y, rstd=rstd, dy=dy, dx=dx, dweight=dweight),
        rows=rows, groups=groups, dim=dim, ldx=ldx, epsilon=epsilon,
    )


def rope():
    """Rotation as a complex product: pair (x[i], x[i+half]) times exp(i position inv_freq[i]) times scale."""
    source = Inputs(11)
    tokens, heads, head_dim, ld, scale, theta = 7, 3, 8, 32, 1.25, 10000.0
    half = head_dim // 2
    x = source.normal(tokens, ld).requires_grad_()
    position = torch.tensor([0, 1, 2, 3, 0, 1, 1000])
    inv_freq = exact(theta ** (-torch.arange(half, dtype=torch.float64) / half))
    dy = source.normal(tokens, ld)
    rotated, rest = x[:, : heads * head_dim].reshape(tokens, heads, 2, half), x[:, heads * head_dim :]
    turn = torch.polar(torch.full((tokens, 1, half), scale, dtype=torch.float64),
                       (position.double()[:, None] * inv_freq)[:, None, :])
    z = torch.complex(rotated[:, :, 0], rotated[:, :, 1]) * turn
    y = torch.cat([torch.stack([z.real, z.imag], dim=2).reshape(tokens, heads * head_dim), rest], dim=1)
    (dx,) = gradients(y, dy, x)
    write_op(
        "rope",
        dict(x=x, position=position, inv_freq=inv_freq, y=y, dy=dy, dx=dx),
        tokens=tokens, heads=heads, head_dim=head_dim, ld=ld, scale=scale,
    )


def embedding():
    source = Inputs(12)
    tokens, vocab, dim = 19, 11, 20
    table = source.normal(vocab, dim).requires_grad_()
    id = source.integers(0, vocab - 2, tokens)  # the last two rows stay unused: their gradient is zero
    id[3] = id[4] = id[17]                      # at least one row used three times
    dy = source.normal(tokens, dim)
    y = torch.nn.functional.embedding(id, table)
    (dtable,) = gradients(y, dy, table)
    write_op("embedding", dict(table=table, id=id, y=y, dy=dy, dtable=dtable), tokens=tokens, vocab=vocab, dim=dim)


def swiglu():
    source = Inputs(13)
    rows, width = 9, 21
    h = source.normal(rows, 2 * width, std=3.0)
    h[0, 0], h[0, 1], h[0, 2] = 90.0, -90.0, 0.0  # both saturated ends of the sigmoid, and its centre
    h.requires_grad_()
    da = source.normal(rows, width)
    gate, up = h.chunk(2, dim=1)
    a = torch.nn.functional.silu(gate) * up
    (dh,) = gradients(a, da, h)
    write_op("swiglu", dict(h=h, a=a, da=da, dh=dh), rows=rows, width=width)


def linear():
    """y = x weight^T, with weight [out_dim, in_dim]."""
    source = Inputs(14)
    rows, in_dim, out_dim = 13, 37, 22
    x = source.normal(rows, in_dim).requires_grad_()
    weight = source.normal(out_dim, in_dim).requires_grad_()
    dy = source.normal(rows, out_dim)
    y = torch.nn.functional.linear(x, weight)
    dx, dweight = gradients(y, dy, x, weight)
    write_op("linear", dict(x=x, weight=weight, y=y, dy=dy, dx=dx, dweight=dweight),
             rows=rows, in_dim=in_dim, out_dim=out_dim)


if __name__ == "__main__":
    rms_norm("rms_norm", 9, rows=7, groups=1, dim=80, ldx=80, epsilon=1e-6)
    rms_norm("rms_norm_grouped", 10, rows=5, groups=3, dim=24, ldx=80, epsilon=1e-5)
    rope()
    embedding()
    swiglu()
    linear()
