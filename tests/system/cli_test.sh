#!/usr/bin/env bash
# The commands as a user types them: help, print-config, train in a pipe and on a terminal, inspect, generate, and the
# files of a run folder.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 10 2
data=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]")
run="$folder/run"
says() { grep -qE -- "$1" "$folder/out" || fail "'$1' is not in: $(tail -n 12 "$folder/out")"; }

echo "--- help"
"$switchyard" --help >"$folder/out"
commands="$(sed -nE 's/^  ([a-z]+) .*/\1/p' "$folder/out")"
for command in bench convert doctor eval generate inspect merge methods tokenize train upcycle verify; do
  grep -qx "$command" <<<"$commands" || fail "--help does not list $command"
done
for command in $commands; do
  for option in --help -h; do
    "$switchyard" "$command" "$option" >"$folder/out" 2>"$folder/err" </dev/null || fail "$command $option ends with $?: $(tail -n 12 "$folder/err")"
    [[ $(wc -l <"$folder/out") -ge 2 && ! -s $folder/err ]] || fail "$command $option says: $(cat "$folder/out" "$folder/err")"
    grep -qi usage "$folder/out" || fail "$command $option shows no usage: $(tail -n 12 "$folder/out")"
  done
done
status=0
"$switchyard" >"$folder/out" 2>&1 || status=$?
[[ $status -eq 2 ]] || fail "no command: exit code $status"

echo "--- print-config is a config that prints itself"
"$switchyard" train "$config" "${data[@]}" train.seed=7 --print-config >"$folder/printed.yaml"
grep -q '^  seed: 7' "$folder/printed.yaml" || fail "the override is not in $(tail -n 12 "$folder/printed.yaml")"
"$switchyard" train "$folder/printed.yaml" --print-config >"$folder/again.yaml"
diff "$folder/printed.yaml" "$folder/again.yaml" || fail "printing twice differs"

echo "--- train in a pipe"
"$switchyard" train "$config" "${data[@]}" logging.log_interval=10 train.eval_interval=20 logging.run_dir="$run" 2>&1 </dev/null | cat >"$folder/out"
says "^$run: [0-9.]+ M parameters, [0-9.]+ M active per token; 40 steps of 128 tokens on 1 rank\$"
for step in 10 20 30 40; do says "^train .* step $step/40  .*/s  elapsed [0-9:]+  left [0-9:]+  loss [0-9.]+\$"; done
[[ $(grep -c '^train ' "$folder/out") -eq 4 ]] || fail "not four lines: $(tail -n 12 "$folder/out")"
if grep -q $'[\r\x1b]' "$folder/out"; then fail "control characters in a pipe"; fi
says '^step 20: held-out loss [0-9.]+ nats per token, [0-9.]+ bits per byte'
says '^step 40: held-out loss '
says "^files: $run/"
says "^sample \(switchyard generate $run --prompt"

echo "--- the run folder"
[[ $(cd "$run" && echo *) == "checkpoints config.yaml metrics.jsonl summary.json tensorboard" ]] || fail "$(ls -A "$run")"
keys="$(sed -nE 's/^ *"([a-z_]+)":.*/\1/p' "$run/summary.json" | tr '\n' ' ')"
[[ $keys == "eval_loss eval_bits_per_byte train_seconds tokens_per_second tflops peak_bytes steps exit_reason commit " ]] || fail "keys of summary.json: $keys"
[[ $(summary "$run" steps) -eq 40 && $(summary "$run" exit_reason) == "done" ]] || fail "$(tail -n 12 "$run/summary.json")"
"$switchyard" train "$run/config.yaml" --print-config >"$folder/out" || fail "the stored config is not a config"
diff "$folder/out" "$run/config.yaml" || fail "the stored config does not print itself"
[[ $(losses "$run" | tail -n 1 | cut -d' ' -f1) -eq 40 ]] || fail "metrics: $(losses "$run")"

echo "--- a finished run started again changes nothing"
cp -r "$run" "$folder/finished"
"$switchyard" train "$config" "${data[@]}" logging.log_interval=10 train.eval_interval=20 logging.run_dir="$run" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"
says "finished.*step 40"
diff -r -x .lock "$folder/finished" "$run" || fail "files changed"

echo "--- no event files when they are switched off"
"$switchyard" train "$config" "${data[@]}" train.train_iters=2 logging.tensorboard=false logging.run_dir="$folder/plain" >"$folder/out" 2>&1
[[ ! -e $folder/plain/tensorboard ]] || fail "there is a tensorboard folder"
if grep -q tensorboard "$folder/out"; then fail "the list of files names tensorboard: $(tail -n 12 "$folder/out")"; fi

echo "--- inspect"
"$switchyard" inspect "$config" "${data[@]}" >"$folder/out"
says 'parameters .* total, .* active'
says 'peak bytes'
"$switchyard" inspect "$config" "${data[@]}" --replay configs/hardware/h100_sxm.yaml >"$folder/out"
says 'one step of rank 0 .*; durations are modelled from configs/hardware/h100_sxm.yaml, not measured'
"$switchyard" inspect "$run" >"$folder/out"
says 'step 40, 160 samples'
says 'model\.layers\.1\.self_attn'
"$switchyard" inspect "$run/config.yaml" >"$folder/out"
"$switchyard" inspect "$folder/train" >"$folder/out"
says '1 documents'
"$switchyard" inspect "$folder/train.bin" >"$folder/out"
says '1 documents'

echo "--- convert"
"$switchyard" convert "$run" "$folder/hub" >"$folder/out" 2>"$folder/err"
says "^$folder/hub: [0-9]+ tensors, [0-9.]+ [kM]B, f32, model_type [a-z0-9_]+, of step 40\$"
[[ $(cd "$folder/hub" && echo *) == "config.json model.safetensors" ]] || fail "$(ls -A "$folder/hub")"
status=0
"$switchyard" convert "$run" "$folder/hub" >"$folder/out" 2>&1 || status=$?
[[ $status -eq 2 && $(cat "$folder/out") == "switchyard: '$folder/hub' exists already; "* ]] || fail "exit code $status: $(cat "$folder/out")"

"$switchyard" convert tests/golden/gguf/llama.gguf "$folder/from_gguf" >"$folder/out" 2>"$folder/err" || fail "$(tail -n 12 "$folder/err")"
says "^$folder/from_gguf: [0-9]+ tensors, .*, from architecture llama; with its tokenizer.json\$"

echo "--- generate"
for path in "$run" "$run/checkpoints" "$run/checkpoints/step_00000040"; do
  "$switchyard" generate "$path" --prompt "the old river" --max-new-tokens 20 --temperature 0 >"$folder/generated"
  [[ $(head -c 13 "$folder/generated") == "the old river" && $(wc -c <"$folder/generated") -gt 20 ]] || fail "$(tail -n 12 "$folder/generated")"
done
"$switchyard" generate "$run" --prompt "the old river" --max-new-tokens 20 --temperature 0 --no-cache | cmp - "$folder/generated" ||
  fail "without the cache the text differs"

echo "--- eval"
printf '{"context": "the old", "choices": [" river", " zzzzz"], "answer": 0}\n' >"$folder/items.jsonl"
"$switchyard" eval "$run" --text "$folder/valid.txt" --seq-length 32 --stride 16 --choices "$folder/items.jsonl" \
  --json "$folder/scores.json" >"$folder/out" 2>"$folder/err" || fail "$(tail -n 12 "$folder/err")"
says "^$folder/valid.txt: $(($(stat -c %s "$folder/valid.txt") + 1)) tokens, .* in 1 documents; windows of 32 tokens, stride 16\$"
says '^  loss [0-9.]+ nats per token, perplexity [0-9.]+, [0-9.]+ bits per byte$'
says "^$folder/items.jsonl: 1 items; accuracy 1.0000, by log-probability per byte 1.0000, per token 1.0000\$"
grep -qE '^tokens .* left ' "$folder/err" || fail "no progress: $(tail -n 12 "$folder/err")"
keys="$(sed -nE 's/^ *"([a-z_]+)":.*/\1/p' "$folder/scores.json" | tr '\n' ' ')"
[[ $keys == "checkpoint text file documents text_bytes tokens seq_length stride loss perplexity bits_per_byte choices file items accuracy accuracy_per_byte accuracy_per_token " ]] ||
  fail "keys of scores.json: $keys"

echo "--- a bar on a terminal"
if command -v script >/dev/null; then
  terminal() { script -qec "$*" /dev/null </dev/null >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"; }
  terminal "$switchyard" train "$config" "${data[@]}" logging.run_dir="$folder/bar"
  says 'train  \[#+-*\]  .* step [0-9]+/40'
  grep -q $'\r\x1b\\[K' "$folder/out" || fail "no redrawn line: $(tail -n 12 "$folder/out")"
  if has_mpi; then
    terminal "${two_ranks[@]}" train "$config" "${data[@]}" logging.run_dir="$folder/bar_of_two"
    says 'train  \[#+-*\]  .* step [0-9]+/40'
    says 'step 40/40'
    [[ $(grep -c 'held-out loss' "$folder/out") -eq 1 ]] || fail "said more than once: $(tail -n 12 "$folder/out")"
  fi
fi
