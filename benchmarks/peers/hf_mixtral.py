"""Peer: Hugging Face MixtralForCausalLM, sdpa attention, fused AdamW, f32.

Run from the repository root, after make_case.py, with the packages of benchmarks/peers/requirements.txt:
    python benchmarks/peers/hf_mixtral.py --experts eager|grouped_mm [--compile] [--threads 2] [--case build/peers_case]

Prints one JSON line (case.py). With --compile the model goes through torch.compile; if that cannot work here, the line
is {"skipped": reason}.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from torch.nn import functional

from case import arguments, load, train_and_report


def build(directory, experts):
    """from_pretrained reads `model.safetensors`, so the case's weights are shown under that name."""
    with tempfile.TemporaryDirectory() as checkpoint:
        (Path(checkpoint) / "model.safetensors").symlink_to((directory / "weights.safetensors").resolve())
        shutil.copy(directory / "config.json", checkpoint)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation="sdpa", experts_implementation=experts,
            output_loading_info=True)
    wrong = {kind: names for kind, names in info.items() if names}
    if wrong:
        raise SystemExit(f"weights and model disagree: {wrong}")
    # Checked, because a wrong name would leave the default in place without a word.
    if model.config._experts_implementation != experts or model.config._attn_implementation != "sdpa":
        raise SystemExit("this transformers version did not take the asked-for implementations")
    return model.train()


def main():
    parser = arguments(__doc__)
    parser.add_argument("--experts", choices=["eager", "grouped_mm"], required=True)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    _, training, tokens = load(args.case)
    model = build(args.case, args.experts)
    forward = model
    if args.compile:
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            print(json.dumps({"skipped": "torch.compile needs a C++ compiler, none found"}))
            return
        forward = torch.compile(model)

    def loss_of(inputs, targets):
        logits = forward(input_ids=inputs, use_cache=False).logits
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    try:
        train_and_report(model.parameters(), loss_of, tokens, training)
    except Exception as error:
        if not args.compile:
            raise
        reason = str(error).strip().splitlines()
        print(json.dumps({"skipped": f"torch.compile failed: {type(error).__name__}: {reason[0] if reason else ''}"}))


if __name__ == "__main__":
    main()
