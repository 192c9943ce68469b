#!/usr/bin/env bash
# A loss or gradient that is not finite ends the run with 1 and one line that names the step and the part of the model
# where it began; the last good checkpoint stays, and loads.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 10 2
data=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]")

# stops RUN TEXT COMMAND...: exit code 1 and one line with TEXT (an extended regular expression).
stops() {
  local run="$1" text="$2" status=0
  shift 2
  timeout 60 "$@" logging.run_dir="$run" >"$folder/out" 2>"$folder/err" </dev/null || status=$?
  [[ $status -eq 1 ]] || fail "exit code $status instead of 1: $(tail -n 12 "$folder/err")"
  [[ $(grep -c '^switchyard: ' "$folder/err") -eq 1 ]] || fail "not one message: $(tail -n 12 "$folder/err")"
  grep -qE "^switchyard: $text" "$folder/err" || fail "expected '$text': $(tail -n 12 "$folder/err")"
  [[ $(summary "$run" exit_reason) == not_finite ]] || fail "summary: $(tail -n 12 "$run/summary.json")"
  sed -n 's/^switchyard: /  /p' "$folder/err"
}

diverges=(optimizer.lr=1e30 optimizer.lr_warmup_iters=0 optimizer.clip_grad=0 checkpoint.save_interval=1)
for num_ranks in 1 2; do
  if [[ $num_ranks -eq 2 ]] && ! has_mpi; then continue; fi
  echo "--- a learning rate that makes the weights overflow, $num_ranks rank(s)"
  run="$folder/diverging_$num_ranks"
  command=("$switchyard")
  if [[ $num_ranks -eq 2 ]]; then command=("${two_ranks[@]}"); fi
  stops "$run" "step [0-9]+: .*'(model\.(layers\.[01]\.|norm|embed)|lm_head).*; nothing was updated; last good checkpoint: $run/checkpoints/step_" \
    "${command[@]}" train "$config" "${data[@]}" "${diverges[@]}"
  step="$(sed -nE 's/^switchyard: step ([0-9]+):.*/\1/p' "$folder/err")"
  named="$(sed -nE 's/.*last good checkpoint: ([^;]*);.*/\1/p' "$folder/err")"
  [[ $(basename "$named") == "$(printf 'step_%08d' $((step - 1)))" ]] || fail "step $step stopped, $named kept"
  [[ $(summary "$run" steps) -eq $((step - 1)) ]] || fail "$(tail -n 12 "$run/summary.json")"
  "$switchyard" inspect "$named" >"$folder/out" || fail "the last good checkpoint does not load: $(tail -n 12 "$folder/out")"
  # Nothing was updated: a second start stops in the same step with the same words.
  cp "$folder/err" "$folder/first"
  stops "$run" "step $step: " "${command[@]}" train "$config" "${data[@]}" "${diverges[@]}"
  diff <(grep '^switchyard' "$folder/first") <(grep '^switchyard' "$folder/err") || fail "another message the second time"
done
