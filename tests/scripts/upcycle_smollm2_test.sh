#!/usr/bin/env bash
# scripts/upcycle_smollm2 around stand-ins for the program and the other scripts: every stage once, steps of equal FLOPs
# from the time of a measured step, a second start that makes nothing again, and refusals before any training.
set -euo pipefail
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
command -v python3 >/dev/null || { echo "SKIPPED: no python3 on this machine"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/scripts" "$work/build/cpu"
cp scripts/upcycle_smollm2 "$work/scripts/"
cd "$work"
export CALLS="$work/calls" PEAK=7000000000 COPY_LOSS=2.5000001

cat >build/cpu/switchyard <<'END_OF_PROGRAM'
#!/usr/bin/env bash
case "$1 $2" in
  "inspect "*dense*) echo '{"peak_bytes": 1, "training_flops_per_token": 2.0}' ;;
  inspect*) echo "{\"peak_bytes\": $PEAK, \"training_flops_per_token\": 3.0}" ;;
  convert*) echo "convert $2" >>"$CALLS"; mkdir -p "$3" ;;
  upcycle*) echo "$*" >>"$CALLS"; way="${2##*_}"; mkdir -p "runs/smollm2_${way%.yaml}" ;;
esac
END_OF_PROGRAM
cat >scripts/train <<'END_OF_TRAIN'
#!/usr/bin/env bash
[[ $1 == --build-only ]] && exit 0
echo "train $*" >>"$CALLS"
for argument in "$@"; do [[ $argument == logging.run_dir=* ]] && run="${argument#*=}"; done
mkdir -p "$run"
loss=2.5
[[ $run == */copy ]] && loss="$COPY_LOSS"
printf '{"step":0,"eval_loss":%s,"eval_perplexity":1}\n{"step":1,"consumed_samples":16,"lm_loss":%s,"x":1}\n' "$loss" "$loss" >"$run/metrics.jsonl"
echo '{"train_seconds": 80.0}' >"$run/summary.json"
END_OF_TRAIN
printf '#!/bin/sh\necho build/model.gguf\n' >scripts/fetch_smollm2
for script in prepare_corpus compare_runs; do
  # shellcheck disable=SC2016  # expanded by the stand-ins
  printf '#!/bin/sh\necho "%s $*" >>"$CALLS"\n' "$script" >"scripts/$script"
done
chmod +x scripts/* build/cpu/switchyard
run() { : >calls && scripts/upcycle_smollm2 --out runs/x "$@" >log 2>&1; }
called() { grep -qF -- "$1" calls || fail "'$1' was not called: $(cat calls)"; }
number_of() { grep -c -- "$1" calls || true; }

# A step takes 80 s / 2 = 40 s: 20 minutes are 30 steps of the MoE, 45 of the dense model.
run optimizer.lr=0.5 || fail "the first run: $(cat log)"
[[ $(cat runs/x/plan) == "30 45" ]] || fail "plan: $(cat runs/x/plan)"
called "convert build/model.gguf"
called "upcycle configs/smollm2/upcycle_copy.yaml"
called "upcycle configs/smollm2/upcycle_drop.yaml"
called "--tokenizer runs/smollm2/tokenizer.json --output corpora/smollm2"
called "train configs/smollm2/train_dense.yaml --np 2 --preset cpu train.train_iters=45"
called "train.train_iters=30 train.eval_interval=8 optimizer.lr_warmup_iters=2 checkpoint.pretrained_checkpoint=runs/smollm2_drop logging.run_dir=runs/x/drop optimizer.lr=0.5"
called "convert runs/x/copy"
called "compare_runs runs/x/dense runs/x/copy runs/x/drop"
[[ $(number_of '^train') == 4 && ! -e runs/x/probe ]] || fail "a probe that is gone and three runs: $(cat calls)"

run || fail "the second run: $(cat log)"
[[ $(number_of '^train') == 3 && $(number_of '^convert\|^upcycle') == 0 ]] || fail "made again: $(cat calls)"

rm -r runs/x
run --steps 2 || fail "two steps: $(cat log)"
[[ $(cat runs/x/plan) == "2 3" && $(number_of '^train') == 3 ]] || fail "two steps: $(cat runs/x/plan calls)"
called "train.train_iters=2 train.eval_interval=1 optimizer.lr_warmup_iters=1"

# refused STATUS WHAT ARGUMENTS...
refused() {
  local status=0
  run "${@:3}" || status=$?
  [[ $status == "$1" ]] || fail "'${*:3}' ended with $status, not $1: $(cat log)"
  grep -q -- "$2" log || fail "'$2' is not in: $(cat log)"
}
rm -r runs/x
COPY_LOSS=2.51 refused 1 "copies must begin with the dense model's loss"
rm -r runs/x
PEAK=8000000001 refused 2 "the limit is 16000000000"
[[ $(number_of '^train') == 0 ]] || fail "trained although it does not fit"
refused 2 "--minutes wants" --minutes 0
refused 2 "--steps wants" --steps 1
refused 2 "unknown argument '--no-such'" --no-such
echo "upcycle_smollm2: all checks passed"
