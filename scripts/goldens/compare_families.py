"""A Hugging Face folder against itself after the way through Switchyard and back, both loaded by `transformers`.

Run from the repository root, with the packages of scripts/goldens/requirements.txt, on folders of any supported family:
    python scripts/goldens/compare_families.py tests/golden/families/olmoe MODEL_FOLDER ...

Prints per folder the largest difference of the logits of random tokens over the largest logit, both in f32; ends with 1
if a folder is above the bound or a tensor was missed.
"""

import argparse
import subprocess
import sys
import tempfile

import torch
import transformers

BOUND = 2e-6  # equal weights: only the order of some sums may differ
POSITIONS = 16


def load(folder):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                    output_loading_info=True)
    missed = {kind: names for kind, names in info.items() if names}
    if missed:
        raise SystemExit(f"{folder}: {missed}")
    return model.eval()


def difference(folder, program):
    with tempfile.TemporaryDirectory() as directory:
        for source, target in ((folder, "checkpoint"), (f"{directory}/checkpoint", "hub")):
            subprocess.run([program, "convert", source, f"{directory}/{target}"], check=True,
                           stdout=subprocess.DEVNULL)
        before, after = load(folder), load(f"{directory}/hub")
    tokens = torch.randint(0, before.config.vocab_size, (2, POSITIONS), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, got = before(input_ids=tokens).logits, after(input_ids=tokens).logits
    return ((got - want).abs().max() / want.abs().max()).item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="+")
    parser.add_argument("--program", default="build/cpu/switchyard")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    worst = 0.0
    for folder in arguments.folder:
        error = difference(folder, arguments.program)
        print(f"{folder}: {error:.1e}")
        worst = max(worst, error)
    sys.exit(worst > BOUND)
