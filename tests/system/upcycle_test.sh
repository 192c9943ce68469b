#!/usr/bin/env bash
# From dense to MoE by commands alone: a dense model is trained, upcycled with an equal loss, trained on with two ranks
# that share the experts, and two such models are merged. Mistakes are one line and leave nothing.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 40 2
dense=(moe=null model.intermediate_size=64 data.train_data_path="[$folder/train]"
  data.valid_data_path="[$folder/valid]")
"$switchyard" train "$config" "${dense[@]}" "logging.run_dir=$folder/dense" >"$folder/log" 2>&1 || fail "$(cat "$folder/log")"

echo "--- copies of the dense blocks: the dense loss"
cat >"$folder/upcycle.yaml" <<END
inputs: [$folder/dense]
output: $folder/moe
method: {type: sparse_upcycling, noise_std: 0}
valid_data_path: [$folder/valid]
moe:
  num_experts: 4
  num_experts_per_tok: 2
  moe_intermediate_size: 64
  router: {type: softmax_topk, softmax: after}
END
"$switchyard" upcycle "$folder/upcycle.yaml" >"$folder/out" 2>"$folder/err" || fail "$(cat "$folder/err")"
cat "$folder/out"
of_dense="$(sed -nE 's/^  from .* at step 40, .* parameters, loss ([0-9.]+)$/\1/p' "$folder/out")"
of_moe="$(sed -nE 's/^  loss before any training ([0-9.]+), on the same [0-9]+ tokens$/\1/p' "$folder/out")"
awk -v a="$of_dense" -v b="$of_moe" 'BEGIN { d = a - b; exit !(a > 0 && b > 0 && d < 1e-4 && d > -1e-4) }' ||
  fail "loss '$of_dense' of the dense model and '$of_moe' of the MoE"
grep -qE '^  lineage [0-9a-f]{16}$' "$folder/out" || fail "no lineage: $(cat "$folder/out")"
for file in config.yaml derivation.json lineage.safetensors checkpoints/step_00000000/index.json; do
  [[ -s $folder/moe/$file ]] || fail "there is no moe/$file"
done

echo "--- trained on, with the experts on two ranks where there is MPI"
run=("$switchyard")
layout=()
if has_mpi; then
  run=("${two_ranks[@]}")
  layout=(parallel.expert_model_parallel_size=2)
fi
"${run[@]}" train "$folder/moe/config.yaml" "${layout[@]}" train.train_iters=80 train.eval_interval=40 \
  train.eval_iters=16 logging.expert_divergence_interval=80 >"$folder/log" 2>&1 </dev/null ||
  fail "$(tail -n 12 "$folder/log")"
grep -q "^starting from the weights of $folder/moe/checkpoints/step_00000000$" "$folder/log" || fail "$(head "$folder/log")"
awk -v a="$(summary "$folder/moe/run" eval_loss)" -v b="$of_moe" 'BEGIN { exit !(a > 0 && a < b) }' ||
  fail "held-out loss $(summary "$folder/moe/run" eval_loss) after training, $of_moe before"

# metric STEP KEY: of the one line of that step that has it.
metric() { sed -nE "s#^\{\"step\":$1,.*\"$2\":([^,}]+).*#\1#p" "$folder/moe/run/metrics.jsonl"; }
awk -v a="$(metric 0 eval_loss)" -v b="$of_moe" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-5 && d > -1e-5) }' ||
  fail "'$(metric 0 eval_loss)' before the first step, $of_moe by upcycle"
awk -v a="$(metric 0 moe/layer_1/expert_divergence)" -v b="$(metric 80 moe/layer_1/expert_divergence)" \
  'BEGIN { exit !(a != "" && a < 1e-20 && b > 1e-4) }' ||
  fail "divergence '$(metric 0 moe/layer_1/expert_divergence)' of copies, '$(metric 80 moe/layer_1/expert_divergence)' after training"

echo "--- compared with the dense run"
if command -v python3 >/dev/null; then
  scripts/compare_runs "$folder/dense" "$folder/moe/run" --switchyard "$switchyard" --out "$folder/comparison" >"$folder/out" || fail "$(cat "$folder/out")"
  grep -qE '^\| run \| .* \| 80 \| [0-9.]+ \| .* \| 0\.0000 \| 0\.[0-9]+ \|$' "$folder/comparison/table.md" || fail "$(cat "$folder/comparison/table.md")"
  grep -qE '^Lowest held-out loss: (dense|run), [0-9.]+ nats per token below (dense|run)\.' "$folder/comparison/table.md" || fail "$(cat "$folder/comparison/table.md")"
  [[ $(grep -c '<polyline' "$folder/comparison/curves.svg") -eq 4 ]] || fail "two curves of each run"
  status=0
  scripts/compare_runs "$folder/nowhere" --out "$folder/comparison" >"$folder/out" 2>&1 || status=$?
  [[ $status -eq 2 && $(wc -l <"$folder/out") -eq 1 ]] || fail "exit code $status: $(cat "$folder/out")"
fi

echo "--- merged with a second dense model"
"$switchyard" train "$config" "${dense[@]}" train.seed=5 "logging.run_dir=$folder/second" >"$folder/log" 2>&1 ||
  fail "$(tail -n 12 "$folder/log")"
cat >"$folder/merge.yaml" <<END
inputs: [$folder/dense, $folder/second]
output: $folder/merged
method: average
END
"$switchyard" merge "$folder/merge.yaml" >"$folder/out" 2>&1 || fail "$(cat "$folder/out")"
"$switchyard" generate "$folder/merged" --prompt a --max-new-tokens 4 >"$folder/out" 2>&1 || fail "$(cat "$folder/out")"

echo "--- by data: all groups of neurons that fire together are the dense model, and a mean weighted by a text"
"$switchyard" upcycle "$folder/upcycle.yaml" "output=$folder/grouped" \
  "method={type: moefication, split: coactivation, logit_deviation: 1.0e-9}" "sample_data_path=[$folder/train]" \
  sample_tokens=128 moe.num_experts_per_tok=4 moe.moe_intermediate_size=16 >"$folder/out" 2>&1 || fail "$(cat "$folder/out")"
of_groups="$(sed -nE 's/^  loss before any training ([0-9.]+), on the same [0-9]+ tokens$/\1/p' "$folder/out")"
awk -v a="$of_dense" -v b="$of_groups" 'BEGIN { d = a - b; exit !(b > 0 && d < 1e-4 && d > -1e-4) }' ||
  fail "loss '$of_dense' of the dense model and '$of_groups' of all its groups"
"$switchyard" merge "$folder/merge.yaml" "output=$folder/weighted" method=branch_train_merge \
  "sample_data_path=[$folder/valid]" >"$folder/out" 2>&1 || fail "$(cat "$folder/out")"
grep -qE '^  weights [0-9.]+, [0-9.]+; as an ensemble the inputs have loss [0-9.]+ on the [0-9]+ sample tokens$' \
  "$folder/out" || fail "$(cat "$folder/out")"

echo "--- mistakes"
# refused WHAT COMMAND ...: exit code 2, one line that contains WHAT, and no output folder.
refused() {
  status=0
  "$switchyard" "${@:2}" output="$folder/wrong" >"$folder/out" 2>&1 || status=$?
  [[ $status -eq 2 && $(wc -l <"$folder/out") -eq 1 ]] || fail "exit code $status: $(cat "$folder/out")"
  grep -qF -- "$1" "$folder/out" || fail "'$1' is not in: $(cat "$folder/out")"
  [[ ! -e $folder/wrong && ! -e $folder/.tmp_wrong ]] || fail "something was left"
}
refused "moe.moe_intermediate_size" upcycle "$folder/upcycle.yaml" moe.moe_intermediate_size=32
refused "is an MoE model already" upcycle "$folder/upcycle.yaml" "inputs=[$folder/moe]"
refused "no_such" upcycle "$folder/upcycle.yaml" "method.no_such=1"
refused "base is missing" merge "$folder/merge.yaml" method=ties
refused "sample_data_path is missing" merge "$folder/merge.yaml" method=branch_train_merge
refused "sample_data_path" upcycle "$folder/upcycle.yaml" "sample_data_path=[$folder/train]"
refused "cannot be combined" merge "$folder/merge.yaml" "inputs=[$folder/dense, $folder/moe]"
status=0
"$switchyard" merge "$folder/merge.yaml" >"$folder/out" 2>&1 || status=$?
[[ $status -eq 2 ]] || fail "exit code $status for an output that exists"
