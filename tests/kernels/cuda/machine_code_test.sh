#!/usr/bin/env bash
# machine_code_test.sh SOURCE.cu: the machine code of a Hopper product has warpgroup products (HGMMA) fed by bulk tensor
# copies (UTMALDG) and stored by them (UTMASTG), and no thread spills registers into local memory (LDL, STL), as one
# misplaced read of an accumulator would make it. Skipped without nvcc or a disassembler.
set -euo pipefail
skip() {
  echo "skipped: $1"
  exit 77
}
fail() {
  echo "machine code: $1" >&2
  exit 1
}
PATH="$PATH:$PWD/.local/cuda_tools/nvidia/cu13/bin"
command -v nvcc >/dev/null || skip "there is no nvcc"
for tool in cuobjdump nvdisasm; do
  command -v "$tool" >/dev/null || skip "there is no $tool (scripts/setup brings it where it can)"
done
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

nvcc -std=c++20 -O3 -I. -arch=sm_90a -cubin "$1" -o "$folder/kernel.cubin"
cuobjdump -sass "$folder/kernel.cubin" >"$folder/sass"
count() { grep -cwE "$1[.A-Z0-9_]*" "$folder/sass" || true; }
for instruction in HGMMA UTMALDG UTMASTG; do
  [[ $(count "$instruction") -gt 0 ]] || fail "$1 has no $instruction"
done
spills="$(count '(LDL|STL)')"
[[ $spills -eq 0 ]] || fail "$1 spills registers: $spills loads and stores of local memory"
echo "$1: $(count HGMMA) HGMMA, $(count UTMALDG) UTMALDG, no local memory"
