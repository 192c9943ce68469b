#!/usr/bin/env bash
# assembles_test.sh SOURCE.cu ...: each source assembles for sm_90a, and ptxas neither serialises a wgmma, nor adds a fence
# or wait that was forgotten, nor ignores a setmaxnreg: its messages C7500 to C7599, some of which it takes for mere
# information (so -v). Skipped without nvcc.
set -euo pipefail
command -v nvcc >/dev/null || { echo "skipped: there is no nvcc"; exit 77; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

for source in "$@"; do
  nvcc -std=c++20 -O3 -I. -gencode=arch=compute_90a,code=sm_90a -Xptxas=-v -c "$source" -o "$folder/kernel.o" \
    >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
  if grep -E 'C75[0-9][0-9]' "$folder/log"; then
    echo "assembles: ptxas complains about $source" >&2
    exit 1
  fi
  entries="$(grep -c "Compiling entry function .* for 'sm_90a'" "$folder/log")" || { echo "assembles: $source has no kernel" >&2; exit 1; }
  echo "$source: $entries kernels"
done
