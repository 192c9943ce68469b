#!/usr/bin/env bash
# SIGKILL at 50 random moments of runs that write a checkpoint every step or two: every later start finds a complete
# checkpoint (or none yet), has lost no more than the steps since the last one, and the finished run has the losses of an
# uninterrupted run, bit for bit. Usage: kill_test.sh [SEED]
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
seed="${1:-$RANDOM}"
echo "seed $seed"
RANDOM=$seed
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 10 2
arguments=(train "$config" data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]")
deadline=$((SECONDS + 240))

# start RANKS RUN [OVERRIDE...]: in a process group of its own; sets $job, the group.
start() {
  local command=("$switchyard")
  if [[ $1 -gt 1 ]]; then command=(mpirun --oversubscribe --bind-to none -np "$1" "$switchyard"); fi
  setsid "${command[@]}" "${arguments[@]}" "logging.run_dir=$2" "${@:3}" >"$2.log" 2>&1 </dev/null &
  job=$!
}
random_seconds() { awk -v r="$RANDOM" -v most="$1" 'BEGIN { print r / 32768 * most }'; }
number_of() { sed -nE "s/$1/\\1/p" "$2" | tail -n 1; }

# kills COUNT RANKS SAVE_INTERVAL STEPS: COUNT kills over as many runs as it takes, then all of them compared.
kills() {
  local count="$1" num_ranks="$2" interval="$3" steps="$4" previous killed=0 runs=0 lost=0 advanced=0 run logged found status
  local guard=""
  local whole="$folder/whole_${num_ranks}_$interval" overrides=("checkpoint.save_interval=$3" "train.train_iters=$4")
  start "$num_ranks" "$whole" "${overrides[@]}"
  wait "$job" || fail "the uninterrupted run failed: $(tail -n 12 "$whole.log")"
  [[ $(losses "$whole" | wc -l) -eq $steps ]] || fail "not $steps losses"
  while [[ $killed -lt $count ]]; do
    runs=$((runs + 1))
    run="$folder/run_${num_ranks}_${interval}_$runs"
    logged=0
    while true; do
      [[ $SECONDS -lt $deadline ]] || fail "no end after 240 s, $killed kills"
      start "$num_ranks" "$run" "${overrides[@]}"
      if [[ $killed -lt $count ]]; then
        # A third of the moments lie in the start, the rest among the first steps and checkpoints after it.
        if [[ $((RANDOM % 3)) -eq 0 ]]; then sleep "$(random_seconds 0.3)"; else
          while kill -0 "$job" 2>/dev/null && ! grep -q '^train ' "$run.log"; do sleep 0.01; done
          sleep "$(random_seconds 0.15)"
        fi
        if [[ $num_ranks -gt 1 && $((RANDOM % 2)) -eq 0 ]]; then
          # One rank alone dies; mpirun ends the other.
          pkill -KILL --parent "$job" --newest 2>/dev/null || true
          # A launcher whose rank died while the two connected may lock itself up in its own end (PMIx_server_finalize).
          (sleep 20 && kill -KILL -- "-$job") >/dev/null 2>&1 &
          guard=$!
        else
          kill -KILL -- "-$job" 2>/dev/null || true
        fi
      fi
      status=0
      { wait "$job" || status=$?; } 2>/dev/null
      if [[ -n $guard ]]; then kill "$guard" 2>/dev/null || true; fi
      guard=""
      # mpirun may be gone before the ranks it leaves behind.
      while pgrep --pgroup "$job" >/dev/null; do sleep 0.05; done
      # When one rank dies, the launcher may end the other with a signal, and it says so.
      if grep '^switchyard: ' "$run.log" | grep -vE 'stopped by a signal|was waiting in'; then fail "a start failed"; fi
      found="$(number_of 'continuing from .*\(step ([0-9]+)\)' "$run.log")"
      # A kill that came after the last checkpoint met a finished run: the next start says so and does nothing.
      found="${found:-$(number_of 'this run has finished with step ([0-9]+);.*' "$run.log")}"
      # The metrics of a step are written before its checkpoint is begun.
      if [[ -n $found || $status -eq 0 ]]; then
        if [[ ${found:-0} -lt $(((logged - 1) / interval * interval)) ]]; then fail "step $logged was reached, but the start found step ${found:-none}"; fi
        lost=$((lost + (logged > ${found:-0} ? logged - ${found:-0} : 0)))
      fi
      if [[ $status -eq 0 ]]; then break; fi
      killed=$((killed + 1))
      previous="$logged"
      logged="$(last_step "$run")"
      logged="${logged:-0}"
      advanced=$((advanced + (logged > previous)))
    done
    diff <(losses "$whole") <(losses "$run") >"$folder/diff" || fail "losses differ: $(head -n 4 "$folder/diff")"
    [[ $(summary "$run" eval_loss) == "$(summary "$whole" eval_loss)" ]] || fail "the held-out loss differs"
    [[ $(find "$run/checkpoints" -mindepth 1 | grep -cE '/\.(tmp|replaced)_') -eq 0 ]] || fail "$(find "$run")"
  done
  echo "$num_ranks rank(s), checkpoint every $interval steps: $killed kills, $advanced of them after new steps, $runs runs of $steps steps, $lost steps repeated"
  [[ $advanced -ge $((count / 4)) ]] || fail "hardly a kill met a run that was training"
}

kills 25 1 1 80
kills 13 1 2 120
if has_mpi; then kills 12 2 1 60; else kills 12 1 1 80; fi
