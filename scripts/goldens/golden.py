"""Shared by the golden scripts: seeded inputs that f32 holds exactly, and the writer of one golden file.

A golden file tests/golden/ops/<name>.safetensors holds an op's inputs, outputs and gradients. Everything is computed
in f64 and stored as f32 (integers as i32, masks as u8); inputs are rounded to f32 before they are used, so an f64 body
reads the very numbers that the reference read. Scalar parameters stand as strings in the file's metadata.
"""

import json
from pathlib import Path

import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[2]
OPS_DIR = ROOT / "tests" / "golden" / "ops"
MODELS_DIR = ROOT / "tests" / "golden" / "models"

torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)  # one summation order, so that a second run writes the same bytes


def exact(values):
    """f64 tensor whose elements f32 holds exactly."""
    return torch.as_tensor(values, dtype=torch.float64).float().double()


class Inputs:
    """Seeded source of inputs; one per golden file, so that files do not depend on each other's order."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, std=1.0, mean=0.0):
        return exact(torch.randn(*shape, generator=self.generator, dtype=torch.float64) * std + mean)

    def uniform(self, *shape, low=0.0, high=1.0):
        return exact(torch.rand(*shape, generator=self.generator, dtype=torch.float64) * (high - low) + low)

    def integers(self, low, high, *shape):
        """Integers in [low, high)."""
        return torch.randint(low, high, shape, generator=self.generator)


def stored(tensor):
    """The tensor as the file keeps it: f64 -> f32, integers -> i32, bool -> u8."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.is_floating_point():
        tensor = tensor.float()
    elif tensor.dtype != torch.uint8:
        tensor = tensor.to(torch.int32)
    return tensor.contiguous().clone()


def write(path, tensors, parameters):
    """Writes one file and prints its size; parameters (numbers or strings) become metadata strings."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path.name}: {name} is not finite")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {name: value if isinstance(value, str) else repr(value) for name, value in parameters.items()}
    # One metadata entry order for every run: safetensors keeps no order of its own, so the header is rewritten sorted.
    payload = safetensors.torch.save({name: stored(tensor) for name, tensor in tensors.items()}, metadata=metadata)
    path.write_bytes(sorted_header(payload))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def sorted_header(payload):
    """The same safetensors bytes with metadata keys in sorted order and tensors in order of their offsets."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(metadata.items()))}
    ordered.update(sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])))
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload[8 + length :]


def write_op(name, tensors, **parameters):
    write(OPS_DIR / f"{name}.safetensors", tensors, parameters)


def gradients(output, upstream, *inputs):
    """d<output, upstream>/dinput for each input, by autograd; zeros where the output does not depend on it."""
    found = torch.autograd.grad(output, inputs, grad_outputs=upstream, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]
