"""Runs Switchyard and its PyTorch peers on one training case, A-B-B-A, and prints the table of medians.

Run from the repository root, with the packages of benchmarks/peers/requirements.txt and build/cpu/switchyard built:
    python benchmarks/peers/run.py [--rounds 5] [--only SUBSTRING ...] [--record] [--device NAME]

Makes build/peers_case first if it is missing. Each round runs every row once in order and once in reverse, each time
in a process of its own; a row's value is the median over all its runs. With --record the table also goes to
benchmarks/results/<device>/step_cpu.md; that asks for all rows, Switchyard's included.
"""

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import transformers

from case import DEFAULT_CASE, ROOT, flops_per_step

SWITCHYARD = ROOT / "build" / "cpu" / "switchyard"
PEERS = Path(__file__).resolve().parent
HF_ROWS = ("transformers, eager experts", "transformers, grouped_mm experts")
SORTED_ROW = "torch, sorted tokens"
# Until a token meets a near-tie between experts, rows agree to rounding. In step 6 of the default case one does (gap
# 4e-8), two rows then choose differently, and by step 20 that has grown to 2e-3 between the PyTorch rows.
EARLY_STEPS, EARLY_TOLERANCE, LOSS_TOLERANCE = 5, 1e-4, 5e-3


def rows(case):
    """Row name -> command and number of threads per process; ours first."""
    ours = [str(SWITCHYARD), "bench", "step", "--case", str(case), "--threads"]
    hugging_face = [sys.executable, str(PEERS / "hf_mixtral.py"), "--case", str(case), "--threads", "2", "--experts"]
    return {
        "switchyard, 1 rank x 2 threads": (ours + ["2"], 2),
        "switchyard, 2 ranks x 1 thread": (["mpirun", "-np", "2", "--bind-to", "core"] + ours + ["1"], 1),
        HF_ROWS[0]: (hugging_face + ["eager"], 2),
        HF_ROWS[1]: (hugging_face + ["grouped_mm"], 2),
        "transformers, grouped_mm, torch.compile": (hugging_face + ["grouped_mm", "--compile"], 2),
        SORTED_ROW: ([sys.executable, str(PEERS / "torch_sorted.py"), "--case", str(case), "--threads", "2"], 2),
    }


def run_once(command, threads, timeout):
    """The last JSON line that the command prints; {"skipped": reason} where it cannot run."""
    if str(SWITCHYARD) in command and not SWITCHYARD.exists():
        return {"skipped": f"{SWITCHYARD.relative_to(ROOT)} is not built"}
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if os.geteuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    try:
        # A session of its own, so that a row which runs too long ends together with its compile workers or ranks.
        process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        return {"skipped": str(error)}
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"skipped": f"not done after {timeout} s"}
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        reason = (errors.strip() or output.strip() or "no output").splitlines()[-1]
        return {"skipped": f"exit code {process.returncode}: {reason}"}
    return json.loads(lines[-1])


def measure(selected, rounds, timeout):
    results = {name: [] for name in selected}
    skipped = {}
    for number in range(rounds):
        for name in list(selected) + list(selected)[::-1]:
            if name in skipped:
                continue
            result = run_once(*selected[name], timeout)
            if "skipped" in result:
                skipped[name] = result["skipped"]
                print(f"{name}: skipped ({skipped[name]})", flush=True)
                continue
            results[name].append(result)
            print(f"round {number + 1}: {name}: {result['tokens_per_second']:.0f} tokens/s, loss at step 20 "
                  f"{result['loss_step20']:.6f}", flush=True)
    return {name: found for name, found in results.items() if name not in skipped}, skipped


def early_difference(result, reference):
    """Largest difference of the losses of the first steps; None where a row does not print its `losses`."""
    if "losses" not in result:
        return None
    return max(abs(a - b) for a, b in zip(result["losses"][:EARLY_STEPS], reference["losses"][:EARLY_STEPS]))


def table(results, skipped, tokens, floor_seconds):
    speed = {name: statistics.median(r["tokens_per_second"] for r in found) for name, found in results.items()}
    loss = {name: statistics.median(r["loss_step20"] for r in found) for name, found in results.items()}
    hf_best = max((speed[name] for name in HF_ROWS if name in speed), default=None)
    # Losses are judged against a PyTorch row, or, where none ran, not at all.
    reference = next((name for name in (SORTED_ROW, *HF_ROWS) if name in loss), None)

    def ratio(value, base):
        return f"{value / base:.2f}x" if base else "-"

    lines = ["| | tokens/s (min-max) | ms/step | % of floor | x transformers | x sorted | steps 1-5: loss off by "
             "| loss at step 20 |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, found in results.items():
        each = [r["tokens_per_second"] for r in found]
        step = tokens / speed[name]
        early = early_difference(found[0], results[reference][0]) if reference else None
        wrong = reference and abs(loss[name] - loss[reference]) > LOSS_TOLERANCE or (early or 0.0) > EARLY_TOLERANCE
        early_text = "-" if early is None else f"{early:.0e}"
        loss_text = f"{loss[name]:.4f}{' DIFFERS' if wrong else ''}"
        lines.append(f"| {name} | {speed[name]:.0f} ({min(each):.0f}-{max(each):.0f}) | {1000 * step:.0f} "
                     f"| {100 * floor_seconds / step:.0f} | {ratio(speed[name], hf_best)} "
                     f"| {ratio(speed[name], speed.get(SORTED_ROW))} | {early_text} | {loss_text} |")
    lines += [f"| {name} | skipped: {reason} | | | | | | |" for name, reason in skipped.items()]
    return "\n".join(lines)


def processor():
    """Model name, core count and widest vectors of this machine: models of one name differ by a factor there."""
    facts = Path("/proc/cpuinfo").read_text()
    names = re.findall(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    vectors = next((f", {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in facts), "")
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores{vectors}"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", type=Path, default=DEFAULT_CASE)
    parser.add_argument("--only", nargs="+", default=[], help="run the rows whose name contains one of these")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which one run is given up")
    parser.add_argument("--gflops", type=float, default=188, help="matrix-product speed that defines the floor")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--device", default=slug(processor()), help="folder name under benchmarks/results")
    args = parser.parse_args()
    args.case = args.case.resolve()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if args.record and args.only:
        parser.error("--record needs all rows: leave --only out")
    if not (args.case / "tokens.bin").exists():
        subprocess.run([sys.executable, str(PEERS / "make_case.py"), "--case", str(args.case)], check=True)
    selected = {name: row for name, row in rows(args.case).items()
                if not args.only or any(part in name for part in args.only)}
    if not selected:
        parser.error(f"no row matches {args.only}")

    load_before = os.getloadavg()[0]
    results, skipped = measure(selected, args.rounds, args.timeout)
    if not results:
        raise SystemExit("no row could run")
    config, training = (json.loads((args.case / name).read_text()) for name in ("config.json", "case.json"))
    flops = flops_per_step(config, training)
    text = table(results, skipped, training["batch"] * training["sequence"], flops / (args.gflops * 1e9))
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    notes = (
        f"{processor()}; commit {commit.stdout.strip()}{' with local changes' if changed else ''}; "
        f"torch {torch.__version__}, transformers {transformers.__version__}; {args.rounds} rounds A-B-B-A, medians; "
        f"load average before the first run {load_before:.1f}.\n\n"
        f"f32, hidden {config['hidden_size']}, {config['num_hidden_layers']} layers, "
        f"{config['num_attention_heads']} heads / {config['num_key_value_heads']} KV heads, "
        f"{config['num_local_experts']} experts top-{config['num_experts_per_tok']} of width "
        f"{config['intermediate_size']}, vocabulary {config['vocab_size']}, sequence {training['sequence']}, "
        f"batch {training['batch']}; one step is {flops / 1e9:.1f} GFLOP, the floor is that at {args.gflops:.0f} "
        f"GFLOP/s.")
    print(f"\n{text}\n\n{notes}")
    if args.record:
        missing = [name for name in skipped if name.startswith("switchyard")]
        if missing:
            raise SystemExit(f"not recorded: {', '.join(missing)} could not run")
        path = ROOT / "benchmarks" / "results" / args.device / "step_cpu.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        made_by = f"Made by `python benchmarks/peers/run.py --rounds {args.rounds} --record`."
        path.write_text(f"# Training step on the CPU, against PyTorch\n\n{made_by}\n\n{text}\n\n{notes}\n")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
