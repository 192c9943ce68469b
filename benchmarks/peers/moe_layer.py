"""PyTorch peers of the MoE layer, on the operands and weights that `layer_bench --write-case` wrote.

    python benchmarks/peers/moe_layer.py CASE.safetensors [--device cpu|cuda] [--rounds 5] [--out FOLDER]

The case holds x, dy, mlp.gate.weight, mlp.experts.gate_up_proj [E, 2n, d] (gate rows, then up rows), mlp.experts.down_proj
[E, d, n], and Switchyard's own y and dx, with which every peer's results are compared before it is timed. Peers: the Mixture
of Experts of Hugging Face Qwen3-MoE with eager and with grouped_mm experts, and a layer of sorted tokens over
torch._grouped_mm. Rounds are A-B-B-A. Layers with shared experts are refused: these peers have none.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch.nn import functional

GATE, UP, DOWN = "mlp.gate.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"


def sorted_layer(x, gate, gate_up, down, k):
    """Tokens in the order of experts, one grouped product per projection."""
    probability = functional.softmax(x.float() @ gate.float().t(), dim=-1)
    weight, expert = probability.topk(k, dim=-1)
    weight = weight / weight.sum(dim=-1, keepdim=True)
    order = expert.flatten().argsort(stable=True)
    token = order // k
    ends = torch.bincount(expert.flatten(), minlength=len(gate)).cumsum(0).to(torch.int32)
    hidden = torch._grouped_mm(x[token], gate_up.transpose(1, 2), offs=ends)
    gated, up = hidden.chunk(2, dim=-1)
    rows = torch._grouped_mm(functional.silu(gated) * up, down.transpose(1, 2), offs=ends)
    rows = rows * weight.flatten()[order, None].to(rows.dtype)
    return torch.zeros_like(x).index_add(0, token, rows)


def hugging_face_layer(case, k, experts):
    from transformers.models.qwen3_moe import configuration_qwen3_moe, modeling_qwen3_moe

    count, width, hidden = case[UP].shape[0], case[UP].shape[1] // 2, case[UP].shape[2]
    config = configuration_qwen3_moe.Qwen3MoeConfig(
        hidden_size=hidden, moe_intermediate_size=width, num_experts=count, num_experts_per_tok=k, norm_topk_prob=True)
    config._experts_implementation = experts
    block = modeling_qwen3_moe.Qwen3MoeSparseMoeBlock(config).to(case["x"].device, case["x"].dtype)
    block.load_state_dict({"gate.weight": case[GATE], "experts.gate_up_proj": case[UP], "experts.down_proj": case[DOWN]})

    def forward(x):
        y = block(x[None])
        return (y[0] if isinstance(y, tuple) else y)[0]

    return forward


def relative_error(actual, expected):
    return (actual.double() - expected.double()).norm().item() / expected.double().norm().item()


def seconds_of(device, run):
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("."))
    args = parser.parse_args()
    with safetensors.safe_open(args.case, "pt") as file:
        k = int(file.metadata()["num_experts_per_tok"])
    case = {name: t.to(args.device) for name, t in safetensors.torch.load_file(args.case).items()}
    if any("shared" in name for name in case):
        raise SystemExit("the case has shared experts; the peers have none (moe.shared_expert_intermediate_size=0)")
    x = case["x"].requires_grad_()
    weights = [case[name].requires_grad_() for name in (GATE, UP, DOWN)]
    makers = {
        "torch._grouped_mm": lambda: lambda x: sorted_layer(x, *weights, k),
        "transformers, eager experts": lambda: hugging_face_layer(case, k, "eager"),
        "transformers, grouped_mm experts": lambda: hugging_face_layer(case, k, "grouped_mm"),
    }
    # f32: other orders of the sums; bf16: each layer rounds between its own steps.
    bound = 2e-2 if x.dtype == torch.bfloat16 else 1e-4
    rows, layers = {}, {}
    for name, make in makers.items():
        try:
            layer = make()
            y = layer(x)
            x.grad = None
            y.backward(case["dy"])
            errors = relative_error(y, case["y"]), relative_error(x.grad, case["dx"])
            rows[name] = {"y_error": errors[0], "dx_error": errors[1], "forward": [], "forward_backward": []}
            if max(errors) > bound:
                rows[name]["note"] = "wrong result, not timed"
            else:
                layers[name] = layer
        except Exception as error:  # a peer that this torch or device does not have
            rows[name] = {"note": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    for _ in range(args.rounds):
        for name in [*layers, *reversed(layers)]:
            layer = layers[name]
            with torch.no_grad():
                rows[name]["forward"].append(seconds_of(args.device, lambda: layer(x)))
            rows[name]["forward_backward"].append(seconds_of(args.device, lambda: layer(x).backward(case["dy"])))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "layer_peers.json").write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")
    lines = [f"# layer_peers\n\ntorch {torch.__version__}, {args.device}, {tuple(x.shape)}, {x.dtype}, medians\n",
             "| peer | forward us | forward and backward us | error of y | error of dx | note |",
             "| --- | --: | --: | --: | --: | --- |"]
    for name, row in rows.items():
        timed = [f"{1e6 * statistics.median(row[c]):.1f}" if row.get(c) else "-" for c in ("forward", "forward_backward")]
        errors = [f"{row[c]:.1e}" if c in row else "-" for c in ("y_error", "dx_error")]
        lines.append(f"| {name} | {' | '.join(timed)} | {' | '.join(errors)} | {row.get('note', '')} |")
    (args.out / "layer_peers.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if any("wrong" in row.get("note", "") for row in rows.values()):
        raise SystemExit("a peer's result differs from Switchyard's: see the table")


if __name__ == "__main__":
    main()
