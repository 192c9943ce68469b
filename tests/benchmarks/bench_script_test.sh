#!/usr/bin/env bash
# scripts/bench on the CPU with tiny shapes: every stage ends, its files are there and hold what they promise.
source tests/system/common.sh
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
bench=(scripts/bench --cpu --quick --build "$SY_BUILD_DIR" --out "$folder/results" --python "$folder/no_python")

"${bench[@]}" --only facts --only sanitize --only kernels --only layer >"$folder/log" 2>&1 || fail "$(tail -n 20 "$folder/log")"
for file in summary.md facts.txt kernels.md kernels.json layer.md layer.json; do
  [[ -s $folder/results/$file ]] || fail "there is no $file: $(tail -n 20 "$folder/log")"
done
summary="$(cat "$folder/results/summary.md")"
[[ $summary == *"| kernels | passed |"* && $summary == *"| layer | passed |"* ]] || fail "summary: $summary"
[[ $summary == *"| sanitize | left out:"* ]] || fail "a stage that cannot run is not called left out: $summary"
kernels="$(cat "$folder/results/kernels.md")"
for benchmark in router_scores topk_select index_build gather_rows combine grouped_gemm_forward grouped_gemm_dgrad \
  grouped_gemm_wgrad rms_norm swiglu cross_entropy adamw "gemm per expert" "equal groups"; do
  [[ $kernels == *"| $benchmark |"* ]] || fail "no row of $benchmark: $kernels"
done
[[ $(cat "$folder/results/layer.md") == *"moe_layer_forward_backward"* ]] || fail "no row of the layer's backward"

# The comparer: a file equals itself; one in which everything took twice as long does not.
compare="$SY_BUILD_DIR/bench_compare"
"$compare" "$folder/results/kernels.json" "$folder/results/kernels.json" >/dev/null || fail "a file differs from itself"
sed -E 's/("(median|p10|p90)_us": [0-9]+\.[0-9]+)(e-?[0-9]+)?/\1e6/' "$folder/results/kernels.json" >"$folder/slow.json"
status=0
"$compare" "$folder/results/kernels.json" "$folder/slow.json" >"$folder/log" || status=$?
[[ $status -eq 1 ]] || fail "slower results: exit code $status, $(tail -n 3 "$folder/log")"

# Mistakes are one clear line and exit code 2.
expect_refusal() {
  local message="$1" status=0
  shift
  "$@" >"$folder/log" 2>&1 || status=$?
  [[ $status -eq 2 && $(cat "$folder/log") == *"$message"* ]] || fail "'$*' ends with $status: $(cat "$folder/log")"
}
expect_refusal "unknown stage 'speed'" scripts/bench --only speed
expect_refusal "there is no bundle" scripts/bench --gpu --bundle "$folder/none.tar.gz"
expect_refusal "unknown shape" "$SY_BUILD_DIR/kernel_bench" --shape 1,2,3 --out "$folder"
expect_refusal "no usable GPU" "$SY_BUILD_DIR/kernel_bench" --device cuda --out "$folder"

# A bundle of these programs runs what it packs.
scripts/bundle --build "$SY_BUILD_DIR" "$folder/bundle.tar.gz" >"$folder/log" || fail "$(cat "$folder/log")"
mkdir "$folder/unpacked"
tar -xzf "$folder/bundle.tar.gz" -C "$folder/unpacked"
LD_LIBRARY_PATH="$folder/unpacked/lib" "$folder/unpacked/kernel_bench" --list >"$folder/log" || fail "the bundle does not run"
echo "scripts/bench, scripts/bundle and bench_compare do what they say"
