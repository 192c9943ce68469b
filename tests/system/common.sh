# Shared by the system tests: `source tests/system/common.sh` from the repository root. Gives $switchyard, $folder (deleted
# at the end), fail, skip, two_ranks (mpirun), make_text and make_corpus, the losses of a run as text, and waiting for a job
# in the background, whose process is $job.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
repository="$PWD"
switchyard="${SY_BUILD_DIR:?set SY_BUILD_DIR to the build folder}/switchyard"
config="$repository/tests/system/tiny.yaml"
fail() {
  echo "FAILED: $1" >&2
  exit 1
}
skip() {
  echo "SKIPPED: $1"
  exit 77
}
# shellcheck source=/dev/null
if [[ -f .local/prefix/env.sh ]]; then source .local/prefix/env.sh; fi
[[ -x $switchyard ]] || fail "there is no $switchyard: build the target switchyard"

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1
if [[ $(id -u) -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# Containers forbid one process to read another's memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=none

# Without a pipe: grep -q leaves early, and a pipe whose writer is then killed counts as a failure here.
has_mpi() { command -v mpirun >/dev/null && [[ $(ldd "$switchyard") == *libmpi* ]]; }

# The program on two ranks of this machine, however few cores it has.
two_ranks=(mpirun --oversubscribe --bind-to none -np 2 "$switchyard")

# make_text FILE LINES SEED: sentences of words drawn by a small generator, so that there is something to learn.
make_text() {
  awk -v lines="$2" -v x="$3" 'BEGIN {
    n = split("the a river stone light morning old quiet walks sings to over under bright and then slowly never", word, " ")
    for (i = 0; i < lines; ++i) {
      line = ""
      for (j = 0; j < 9; ++j) { x = (x * 16807) % 2147483647; line = line word[x % n + 1] " " }
      print line "."
    }
  }' >"$1"
}

# make_corpus PREFIX LINES SEED
make_corpus() {
  make_text "$1.txt" "$2" "$3"
  "$switchyard" tokenize --input "$1.txt" --output-prefix "$1" >/dev/null
}

# losses RUN: "step loss" of every line of training metrics, the loss as the text in the file.
losses() { sed -nE 's/^\{"step":([0-9]+),"consumed.*"lm_loss":([^,]+),.*/\1 \2/p' "$1/metrics.jsonl"; }

# last_step RUN: the newest step in its metrics, nothing if there is none.
last_step() { if [[ -e $1/metrics.jsonl ]]; then losses "$1" | tail -n 1 | cut -d' ' -f1; fi; }

# summary RUN KEY: a value of summary.json.
summary() { sed -nE "s/^ *\"$2\": \"?([^\",]*)\"?,?\$/\\1/p" "$1/summary.json"; }

job=""
# wait_for_step RUN STEP: until that step is in the metrics; a job that has ended before is a failure.
wait_for_step() {
  local step
  for _ in {1..1500}; do
    step="$(last_step "$1")"
    if [[ ${step:-0} -ge $2 ]]; then return; fi
    kill -0 "$job" 2>/dev/null || fail "the job ended before step $2: $(tail -n 12 "$1.log")"
    sleep 0.02
  done
  fail "step $2 was not reached in 30 s: $(tail -n 12 "$1.log")"
}
# end_of_job LOG: waits for it, at most 20 s, and sets $status.
end_of_job() {
  for _ in {1..200}; do
    kill -0 "$job" 2>/dev/null || break
    sleep 0.1
  done
  if kill -KILL "$job" 2>/dev/null; then fail "the job was still there 20 s after the signal: $(tail -n 12 "$1")"; fi
  status=0
  wait "$job" || status=$?
}
ranks_of_job() { ps -o pid= --ppid "$job"; }
