#!/usr/bin/env bash
# Signals to a real training job of two ranks, through the real mpirun. SIGUSR1 to mpirun and SIGTERM to the ranks: they
# agree on a step, write a checkpoint and end with 75, and the next start goes on to the losses of an uninterrupted run.
# SIGTERM and SIGINT to mpirun: the step and the last complete checkpoint are printed and nothing is written.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
has_mpi || skip "no mpirun, or a build without MPI"
make_corpus "$folder/train" 800 1
make_corpus "$folder/valid" 40 2
# With a constant rate the path of a run does not depend on its length. Checkpoints come at the end or when asked for.
settings=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]" train.train_iters=400
  train.micro_batch_size=8 train.global_batch_size=16 optimizer.lr_decay_style=constant checkpoint.save_interval=0)
arguments=(train "$config" "${settings[@]}")

# start RUN [OVERRIDE...]: two ranks in the background, output in RUN.log; sets $job.
start() {
  "${two_ranks[@]}" "${arguments[@]}" "logging.run_dir=$1" "${@:2}" >"$1.log" 2>&1 </dev/null &
  job=$!
}
checkpoints() { (cd "$1/checkpoints" && find . -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '); }
# goes_on RUN STEP: a new start continues after STEP, ends well and has every loss of the uninterrupted run.
goes_on() {
  "${two_ranks[@]}" "${arguments[@]}" "logging.run_dir=$1" >"$1.log" 2>&1 || fail "the next start failed: $(tail -n 12 "$1.log")"
  grep -q "^continuing from $1/checkpoints/step_[0-9]* (step $2)\$" "$1.log" || fail "no line on going on from $2: $(tail -n 12 "$1.log")"
  diff <(losses "$folder/whole") <(losses "$1") >"$folder/diff" || fail "losses differ: $(head -n 4 "$folder/diff")"
  [[ $(summary "$1" eval_loss) == "$(summary "$folder/whole" eval_loss)" ]] || fail "the held-out loss differs"
}

echo "--- uninterrupted"
start "$folder/whole"
end_of_job "$folder/whole.log"
[[ $status -eq 0 ]] || fail "exit code $status: $(tail -n 12 "$folder/whole.log")"
[[ $(losses "$folder/whole" | wc -l) -eq 400 ]] || fail "not 400 losses"

for who in mpirun ranks; do
  run="$folder/stopped_$who"
  echo "--- a request to stop, sent to $who"
  start "$run"
  wait_for_step "$run" 130
  if [[ $who == mpirun ]]; then kill -USR1 "$job"; else
    # A scheduler signals every process of the job step.
    # shellcheck disable=SC2046
    kill -TERM $(ranks_of_job)
  fi
  end_of_job "$run.log"
  [[ $status -eq 75 ]] || fail "exit code $status instead of 75: $(tail -n 12 "$run.log")"
  step="$(last_step "$run")"
  grep -q "stopped on request after step $step; start again to continue" "$run.log" || fail "no message: $(tail -n 12 "$run.log")"
  [[ $(checkpoints "$run") == "latest $(printf 'step_%08d' "$step") " ]] || fail "checkpoints: $(checkpoints "$run")"
  [[ $(summary "$run" exit_reason) == stopped && $(summary "$run" steps) == "$step" ]] || fail "$(tail -n 12 "$run/summary.json")"
  goes_on "$run" "$step"
done

echo "--- a request to one rank alone stops both"
run="$folder/stopped_one"
start "$run"
wait_for_step "$run" 60
kill -TERM "$(ranks_of_job | tail -n 1)"
end_of_job "$run.log"
[[ $status -eq 75 ]] || fail "exit code $status instead of 75: $(tail -n 12 "$run.log")"
goes_on "$run" "$(last_step "$run")"

# ends_at_once SIGNAL RUN COMMAND...: goes on from a checkpoint of step 100 for a long time and gets the signal; $job is
# what gets it. Afterwards the run folder is as the checkpoint left it, but for the lines of metrics.
ends_at_once() {
  local signal="$1" run="$2" step named
  shift 2
  "$@" "${arguments[@]}" "logging.run_dir=$run" train.train_iters=100 >"$run.log" 2>&1 </dev/null || fail "$(tail -n 12 "$run.log")"
  cp -r "$run/checkpoints" "$folder/before"
  cp "$run/summary.json" "$folder/summary_before"
  "$@" "${arguments[@]}" "logging.run_dir=$run" train.train_iters=1000000 >"$run.log" 2>&1 </dev/null &
  job=$!
  wait_for_step "$run" 110
  kill "-$signal" "$job"
  end_of_job "$run.log"
  step="$(last_step "$run")"
  [[ $(grep -c "^switchyard: stopped by a signal in step [0-9]*; last complete checkpoint: $run/checkpoints/step_00000100\$" "$run.log") -eq 1 ]] ||
    fail "no last words: $(tail -n 12 "$run.log")"
  named="$(sed -nE 's/.*stopped by a signal in step ([0-9]+);.*/\1/p' "$run.log")"
  [[ $named -ge $step && $named -le $((step + 1)) ]] || fail "step $named named, step $step logged"
  diff -r "$folder/before" "$run/checkpoints" || fail "checkpoints were written"
  cmp "$run/summary.json" "$folder/summary_before" || fail "a summary was written"
  rm -r "$folder/before"
}
for signal in TERM INT; do
  echo "--- SIG$signal to mpirun: last words, nothing written"
  ends_at_once "$signal" "$folder/ended_$signal" "${two_ranks[@]}"
  [[ $status -ne 0 && $status -ne 75 ]] || fail "exit code $status"
  goes_on "$folder/ended_$signal" 100
done
echo "--- SIGINT (Ctrl-C) to a single process"
# A shell gives its background jobs a SIGINT that is ignored; the program listens to it all the same.
ends_at_once INT "$folder/ended_single" "$switchyard"
[[ $status -eq 1 ]] || fail "exit code $status"

echo "--- commands that train nothing end at once on SIGTERM"
sed 's/max_position_embeddings: 64/max_position_embeddings: 100000/' "$config" >"$folder/long.yaml"
"$switchyard" train "$folder/long.yaml" "${settings[@]}" train.train_iters=2 "logging.run_dir=$folder/long" >"$folder/long.log" 2>&1
"$switchyard" generate "$folder/long" --prompt a --max-new-tokens 90000 >"$folder/generate.log" 2>&1 &
job=$!
sleep 0.5
kill -TERM "$job"
end_of_job "$folder/generate.log"
[[ $status -eq 143 ]] || fail "exit code $status instead of 143: $(tail -n 12 "$folder/generate.log")"
