#!/usr/bin/env bash
# The quickstart as the README gives it: the held-out loss (last 200 kB of the King James text) is at most 1.40 nats per
# byte. Shown beside what gzip and bzip2 reach; the time of the training is shown, and warned about beyond four minutes.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
unset OMP_NUM_THREADS   # scripts/train gives every rank its share of the cores
scripts/train configs/quickstart.yaml "logging.run_dir=$folder/run" 2>&1 | tee "$folder/log" || fail "the quickstart failed"
loss="$(summary "$folder/run" eval_loss)"
seconds="$(summary "$folder/run" train_seconds)"
[[ -n $loss && -n $seconds ]] || fail "no loss in $(tail -n 12 "$folder/run/summary.json")"
# Nats per byte of the whole text when a compressor packs it, as scripts/prepare_corpus prints them.
compressors=""
if [[ -s corpora/kjv.txt ]]; then
  bytes="$(stat -c %s corpora/kjv.txt)"
  for program in gzip bzip2; do
    if ! command -v "$program" >/dev/null; then continue; fi
    compressed="$("$program" -9 -c corpora/kjv.txt | wc -c)"
    compressors+=", $program $(awk -v c="$compressed" -v b="$bytes" 'BEGIN { printf "%.2f", c * 8 * log(2) / b }')"
  done
fi
printf 'held-out loss %.4f nats per byte (at most 1.40%s), training took %.0f s (at most 240)\n' "$loss" "$compressors" "$seconds"
awk -v s="$seconds" 'BEGIN { exit !(s > 240) }' && echo "WARNING: the training took longer than 240 s on this machine"
awk -v l="$loss" 'BEGIN { exit !(l <= 1.40) }' || fail "the held-out loss $loss is above 1.40"
grep -q '^sample (switchyard generate' "$folder/log" || fail "the quickstart did not end with a sample"
