#!/usr/bin/env bash
# Memory of a training run: the allocator's peak against what `inspect` predicts (15%, exact on the CPU), the resident
# memory of the process against the same number (25%), and no growth between step 100 and step 500 (2%).
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 2000 1
make_corpus "$folder/valid" 10 2
data=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]" train.eval_iters=0)

# resident PID: its largest resident memory so far, in kilobytes (VmHWM), or the present one (VmRSS).
resident() { sed -nE "s/^$2:[[:space:]]*([0-9]+) kB/\\1/p" "/proc/$1/status" 2>/dev/null || true; }
percent() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", 100 * (a / b - 1) }'; }
within() { awk -v p="$1" -v limit="$2" 'BEGIN { exit !(p >= -limit && p <= limit) }'; }

for recompute in none full; do
  echo "--- prediction and reality, recompute $recompute"
  run="$folder/middle_$recompute"
  middle=(model.vocab_size=8192 model.hidden_size=256 model.num_hidden_layers=4 model.num_attention_heads=4
    model.num_key_value_heads=2 model.max_position_embeddings=256 moe.num_experts=8 moe.moe_intermediate_size=512
    train.micro_batch_size=8 train.global_batch_size=8 train.seq_length=256 "train.recompute=$recompute" train.train_iters=2
    checkpoint.save_interval=1 "logging.run_dir=$run")
  predicted="$("$switchyard" inspect --json "$config" "${data[@]}" "${middle[@]}" | sed -nE 's/.*"peak_bytes":([0-9]+).*/\1/p')"
  "$switchyard" train "$config" "${data[@]}" "${middle[@]}" >"$folder/out" 2>&1 </dev/null &
  process=$!
  kilobytes=0
  while kill -0 "$process" 2>/dev/null; do
    now="$(resident "$process" VmHWM)"
    if [[ -n $now ]]; then kilobytes="$now"; fi
    sleep 0.05
  done
  wait "$process" || fail "$(tail -n 12 "$folder/out")"
  peak="$(summary "$run" peak_bytes)"
  [[ $predicted -ge 300000000 ]] || fail "only $predicted bytes predicted: too small a test"
  off="$(percent "$peak" "$predicted")"
  resident_off="$(percent "$((kilobytes * 1024))" "$predicted")"
  echo "predicted $((predicted / 1000000)) MB, allocator's peak $((peak / 1000000)) MB ($off%), resident $((kilobytes * 1024 / 1000000)) MB ($resident_off%)"
  within "$off" 15 || fail "the allocator's peak is $off% off"
  within "$resident_off" 25 || fail "the resident memory is $resident_off% off"
done

echo "--- no growth"
run="$folder/long"
"$switchyard" train "$config" "${data[@]}" train.train_iters=520 checkpoint.save_interval=50 logging.run_dir="$run" \
  train.micro_batch_size=16 train.global_batch_size=16 >"$folder/out" 2>&1 </dev/null &
process=$!
early=0
late=0
while kill -0 "$process" 2>/dev/null; do
  now="$(resident "$process" VmRSS)"
  step="$(if [[ -e $run/metrics.jsonl ]]; then losses "$run" | tail -n 1 | cut -d' ' -f1; fi)"
  if [[ -n $now && ${step:-0} -ge 100 && $early -eq 0 ]]; then early="$now" early_step="$step"; fi
  # The most seen: the last look may fall into the process's end, when memory is already given back.
  if [[ -n $now && ${step:-0} -ge 400 && $now -ge $late ]]; then late="$now" late_step="$step"; fi
  sleep 0.01
done
wait "$process" || fail "$(tail -n 12 "$folder/out")"
[[ $early -gt 0 && $late -gt 0 && $((late_step - early_step)) -ge 250 ]] || fail "the run was too quick to be watched: steps ${early_step:-} to ${late_step:-}"
growth="$(percent "$late" "$early")"
echo "step $early_step: $early kB, step $late_step: $late kB ($growth%)"
within "$growth" 2 || fail "memory grew by $growth%"
