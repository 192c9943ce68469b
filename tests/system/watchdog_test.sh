#!/usr/bin/env bash
# A training job of three ranks in which one stops, dawdles or dies: the others name it, and the job ends or goes on to
# the losses of an undisturbed run. Also comm.debug: a right program gives the same losses with it.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
has_mpi || skip "no mpirun, or a build without MPI"
make_corpus "$folder/train" 800 1
make_corpus "$folder/valid" 40 2
# With a constant rate the path of a run does not depend on its length.
arguments=(train "$config" data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]"
  train.train_iters=400 train.global_batch_size=6 optimizer.lr_decay_style=constant checkpoint.save_interval=0
  comm.report_after_s=5 comm.abort_after_s=15)

# start RUN [OVERRIDE...]: three ranks in the background, output in RUN.log; sets $job.
start() {
  mpirun --oversubscribe --bind-to none -np 3 "$switchyard" "${arguments[@]}" "logging.run_dir=$1" "${@:2}" >"$1.log" 2>&1 </dev/null &
  job=$!
}
# process_of RANK
process_of() {
  local process
  for process in $(ranks_of_job); do
    if tr '\0' '\n' <"/proc/$process/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then echo "$process" && return; fi
  done
  fail "there is no rank $1"
}
# number_of_lines LOG EXPRESSION
number_of_lines() { grep -cE "$2" "$1" || true; }
# Ranks may stand on both sides of a collective that the stopped rank had half done: one report each, then.
once_or_twice() { [[ $(number_of_lines "$1" "$2") =~ ^[12]$ ]] || fail "not one or two lines '$2': $(tail -n 20 "$1")"; }
place="in [a-z_]+ number [0-9]+ of group '[a-z_]+'(, layer [0-9]+)?, step [0-9]+"

echo "--- undisturbed"
start "$folder/whole"
end_of_job "$folder/whole.log"
[[ $status -eq 0 ]] || fail "exit code $status: $(tail -n 12 "$folder/whole.log")"
[[ $(losses "$folder/whole" | wc -l) -eq 400 ]] || fail "not 400 losses"
[[ $(number_of_lines "$folder/whole.log" '^switchyard: ') -eq 0 ]] || fail "$(tail -n 12 "$folder/whole.log")"

echo "--- comm.debug: the same losses"
start "$folder/debug" comm.debug=true train.train_iters=60
end_of_job "$folder/debug.log"
[[ $status -eq 0 ]] || fail "exit code $status: $(tail -n 12 "$folder/debug.log")"
diff <(losses "$folder/whole" | head -n 60) <(losses "$folder/debug") >"$folder/diff" || fail "losses differ: $(head -n 4 "$folder/diff")"

for rank in 2 0; do
  echo "--- rank $rank is stopped: named after 5 seconds, the job ends after 15"
  run="$folder/stopped_$rank"
  # Long steps: rank 0 stopped between a step's end and its line in the metrics would be named two steps on.
  start "$run" train.train_iters=1000000 train.global_batch_size=120
  wait_for_step "$run" 50
  kill -STOP "$(process_of "$rank")"
  sleep 4
  [[ $(number_of_lines "$run.log" 'not arrived') -eq 0 ]] || fail "too early: $(tail -n 12 "$run.log")"
  step="$(last_step "$run")"
  end_of_job "$run.log"
  [[ $status -ne 0 && $status -ne 75 ]] || fail "exit code $status"
  once_or_twice "$run.log" "^switchyard: rank [0-2] has waited [56]\.[0-9] s $place; not arrived: rank $rank(, .*)?; the job ends after 15 s\$"
  once_or_twice "$run.log" "^switchyard: rank [0-2] has waited 1[56]\.[0-9] s $place; not arrived: rank $rank(, .*)?; the job ends\$"
  named="$(sed -nE "s/.*has waited .* step ([0-9]+); not arrived.*; the job ends$/\1/p" "$run.log" | head -n 1)"
  [[ $named -ge $step && $named -le $((step + 1)) ]] || fail "step $named named, step $step logged"
  # The survivors do not say again what was reported. (They may have got to the next collective: mpirun wakes the
  # stopped rank before it ends it.)
  number="$(sed -nE "s/.*has waited .* number ([0-9]+) of .*; the job ends$/\1/p" "$run.log" | head -n 1)"
  said="$(grep -E "was waiting in .* number $number of" "$run.log" | grep -v "rank $rank was" || true)"
  [[ -z $said ]] || fail "said again: $said"
  sed -nE 's/^switchyard: /  /p' "$run.log"
done

echo "--- rank 1 sleeps for 8 seconds: named, and the run goes on to the same losses"
run="$folder/straggler"
start "$run"
wait_for_step "$run" 50
process="$(process_of 1)"
kill -STOP "$process"
sleep 8
kill -CONT "$process"
end_of_job "$run.log"
[[ $status -eq 0 ]] || fail "exit code $status: $(tail -n 12 "$run.log")"
once_or_twice "$run.log" "^switchyard: rank [02] has waited [56]\.[0-9] s $place; not arrived: rank 1(, .*)?; the job ends after 15 s\$"
once_or_twice "$run.log" "^switchyard: [a-z_]+ number [0-9]+ of group .* went on after [789]\.[0-9] s; rank 1 is a straggler\$"
diff <(losses "$folder/whole") <(losses "$run") >"$folder/diff" || fail "losses differ: $(head -n 4 "$folder/diff")"
[[ $(summary "$run" eval_loss) == "$(summary "$folder/whole" eval_loss)" ]] || fail "the held-out loss differs"
sed -nE 's/^switchyard: /  /p' "$run.log"

echo "--- rank 1 is killed: the others say what they were waiting in, at once"
run="$folder/killed"
start "$run" train.train_iters=1000000
wait_for_step "$run" 50
begin=$SECONDS
kill -KILL "$(process_of 1)"
end_of_job "$run.log"
[[ $status -ne 0 && $status -ne 75 ]] || fail "exit code $status"
[[ $((SECONDS - begin)) -le 5 ]] || fail "the job ended after $((SECONDS - begin)) seconds"
# Usually of both; one may still be computing when mpirun ends it.
once_or_twice "$run.log" "^switchyard: rank [02] was waiting $place\$"
[[ $(number_of_lines "$run.log" "^switchyard: stopped by a signal in step [0-9]+; no checkpoint was written\$") -eq 1 ]] || fail "$(tail -n 20 "$run.log")"
sed -nE 's/^switchyard: /  /p' "$run.log"
