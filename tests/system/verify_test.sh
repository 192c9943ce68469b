#!/usr/bin/env bash
# Layouts through the real mpirun: `verify` accepts layouts that are right and names the tensor where a run differs, an
# illegal layout gives one line, and a run that is stopped on one mesh continues on another to the losses of one rank.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
has_mpi || skip "no mpirun, or a build without MPI"
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 40 2
data=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]" train.global_batch_size=8)
# The config's own scope, global_batch, depends on the number of waves.
micro_batch=(moe.balance="[{type: load_balancing, coefficient: 0.01, scope: micro_batch}, {type: z_loss}]")
ranks() { mpirun --oversubscribe --bind-to none -np "$1" "$switchyard" "${@:2}"; }

tensor2_expert4=(parallel.tensor_model_parallel_size=2 parallel.expert_model_parallel_size=4)
tensor2_expert2_slices2=(parallel.tensor_model_parallel_size=2 parallel.sequence_parallel=false
  parallel.expert_model_parallel_size=2 parallel.expert_tensor_parallel_size=2)
expert2=(parallel.expert_model_parallel_size=2)

# verify RANKS ARGUMENT...: the output in $folder/out, sets $status.
verify() {
  status=0
  ranks "$1" verify "$config" "${data[@]}" "${@:2}" >"$folder/out" 2>&1 </dev/null || status=$?
}
says() { grep -qE -- "$1" "$folder/out" || fail "'$1' is not in: $(cat "$folder/out")"; }

echo "--- f64 on three layouts: every number within rounding"
for layout in tensor2_expert4 tensor2_expert2_slices2 expert2; do
  declare -n keys="$layout"
  verify 4 "${micro_batch[@]}" train.dtype=f64 "${keys[@]}"
  [[ $status -eq 0 ]] || fail "$layout: exit code $status: $(cat "$folder/out")"
  for what in "losses" "gradient norms" "gradients of the first step" "parameters after the last"; do
    says "^  $what +[0-9.]+e[-+][0-9]+ +1e-10   ok"
  done
  # Of all ranks: 3 steps x 8 sequences x 32 tokens x 2 experts x 2 layers.
  says "^  assignments: 0 of 3072 differ\$"
done

echo "--- f32 with the assignments of one rank"
for layout in tensor2_expert4 tensor2_expert2_slices2; do
  declare -n keys="$layout"
  verify 4 "${micro_batch[@]}" "${keys[@]}" --replay
  [[ $status -eq 0 ]] || fail "$layout: exit code $status: $(cat "$folder/out")"
  says "^  gradients of the first step +[0-9.]+e[-+][0-9]+ +1e-05   ok   largest in model\."
  says "; the one-rank run's were used\$"
done

echo "--- bf16: near ties go either way, and are within what rounding to 8 bits explains"
verify 2 "${micro_batch[@]}" "${expert2[@]}" train.dtype=bf16
[[ $status -eq 0 ]] || fail "exit code $status: $(cat "$folder/out")"

echo "--- a run that does differ is caught, and the tensor named"
verify 4 train.dtype=f64 "${tensor2_expert4[@]}"
[[ $status -eq 1 ]] || fail "exit code $status instead of 1: $(cat "$folder/out")"
says "^  gradients of the first step +[0-9.]+e[-+][0-9]+ +1e-10   DIFFERS   largest in model\.layers\.[01]\.mlp\.gate\.weight\$"
says "a step has 2 waves of micro-batches here and 4 on one rank"
# The same scope with as many waves is the same run.
verify 2 train.dtype=f64 parallel.tensor_model_parallel_size=2
[[ $status -eq 0 ]] || fail "exit code $status: $(cat "$folder/out")"

echo "--- a layout that the model does not fit: one line, exit code 2"
# refuses RANKS TEXT OVERRIDE...
refuses() {
  for command in verify train; do
    status=0
    ranks "$1" "$command" "$config" "${data[@]}" logging.run_dir="$folder/none" "${@:3}" >"$folder/out" 2>&1 </dev/null || status=$?
    [[ $status -eq 2 ]] || fail "$command: exit code $status instead of 2: $(cat "$folder/out")"
    [[ $(grep -c '^switchyard: ' "$folder/out") -eq 1 ]] || fail "$command: not one message: $(cat "$folder/out")"
    says "^switchyard: .*$2"
    [[ ! -e $folder/none ]] || fail "$command left a run folder"
  done
}
refuses 4 "tensor_model_parallel_size: num_attention_heads 2 cannot be divided among 4" parallel.tensor_model_parallel_size=4
refuses 3 "tensor_model_parallel_size: 2 needs a multiple of 2 ranks, there are 3" parallel.tensor_model_parallel_size=2
refuses 3 "expert_model_parallel_size: num_experts 4 cannot be divided among 3" parallel.expert_model_parallel_size=3
refuses 2 "expert_model_parallel_size: 4 x .* needs a multiple of 4 ranks, there are 2" parallel.expert_model_parallel_size=4

echo "--- training on four ranks, stopped, continued on two, then on one: the losses of one rank"
settings=("${data[@]}" "${micro_batch[@]}" train.dtype=f64 train.train_iters=400 train.eval_iters=2
  optimizer.lr=0.001 optimizer.lr_decay_style=constant checkpoint.save_interval=0)
# close RUN: every loss of the uninterrupted one-rank run, to 1e-9.
close() {
  join <(losses "$folder/whole" | sort) <(losses "$1" | sort) >"$folder/pairs"
  [[ $(wc -l <"$folder/pairs") -eq 400 ]] || fail "$(wc -l <"$folder/pairs") common steps instead of 400"
  awk '{ d = ($2 - $3) / $2; if (d < 0) d = -d; if (d > worst) { worst = d; step = $1 } }
       END { printf "  largest relative difference %.1e in step %d\n", worst, step; exit worst > 1e-9 }' "$folder/pairs" ||
    fail "losses differ"
}
# stopped_after STEP RUN RANKS OVERRIDE...: starts, asks to stop at STEP, and checks that it did.
stopped_after() {
  local run="$2" job status=0 step
  mpirun --oversubscribe --bind-to none -np "$3" "$switchyard" train "$config" "${settings[@]}" "logging.run_dir=$run" "${@:4}" \
    >"$run.log" 2>&1 </dev/null &
  job=$!
  for _ in {1..3000}; do
    step="$(last_step "$run")"
    if [[ ${step:-0} -ge $1 ]]; then break; fi
    kill -0 "$job" 2>/dev/null || fail "the job ended before step $1: $(tail -n 12 "$run.log")"
    sleep 0.02
  done
  kill -USR1 "$job"
  wait "$job" || status=$?
  [[ $status -eq 75 ]] || fail "exit code $status instead of 75: $(tail -n 12 "$run.log")"
}
"$switchyard" train "$config" "${settings[@]}" "logging.run_dir=$folder/whole" >"$folder/whole.log" 2>&1 ||
  fail "$(tail -n 12 "$folder/whole.log")"
run="$folder/run"
stopped_after 60 "$run" 4 "${tensor2_expert4[@]}"
grep -q "on 4 ranks = data 2 x tensor 2 = expert data 1 x expert 4 x expert tensor 1\$" "$run.log" || fail "$(head "$run.log")"
stopped_after 150 "$run" 2 "${expert2[@]}"
grep -q "^continuing from $run/checkpoints/step_" "$run.log" || fail "did not continue: $(head "$run.log")"
grep -q "^  it was written on 4 ranks = .*; this start has 2 ranks = " "$run.log" || fail "no line on the other mesh: $(head "$run.log")"
grep -q "on 2 ranks = data 2 x tensor 1 = expert data 1 x expert 2 x expert tensor 1\$" "$run.log" || fail "$(head "$run.log")"
grep -q "expert_model_parallel_size: 2" "$run/config.yaml" || fail "the stored config is not that of the last start"
stopped_after 250 "$run" 4 "${tensor2_expert2_slices2[@]}"
"$switchyard" train "$config" "${settings[@]}" "logging.run_dir=$run" >"$run.log" 2>&1 || fail "$(tail -n 12 "$run.log")"
close "$run"
awk -v a="$(summary "$folder/whole" eval_loss)" -v b="$(summary "$run" eval_loss)" 'BEGIN { d = (a - b) / a; exit (d < 0 ? -d : d) > 1e-9 }' ||
  fail "held-out losses: $(summary "$folder/whole" eval_loss) and $(summary "$run" eval_loss)"

echo "--- a checkpoint of four ranks generates text on one"
run="$folder/four"
ranks 4 train "$config" "${settings[@]}" "${tensor2_expert4[@]}" train.train_iters=5 "logging.run_dir=$run" >"$run.log" 2>&1 || fail "$(tail -n 12 "$run.log")"
"$switchyard" generate "$run" --prompt a --max-new-tokens 4 >"$folder/out" 2>&1 || fail "$(cat "$folder/out")"
grep -q '^a' "$folder/out" || fail "$(cat "$folder/out")"
