#!/usr/bin/env bash
# Models between Switchyard and Hugging Face as a user moves them: a trained run out and back generates the same text, a
# new run starts from it on one and on two ranks, and a folder that is not whole leaves nothing behind.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 300 1
data=(data.train_data_path="[$folder/train]" train.eval_iters=0)
run="$folder/run"
says() { grep -qE -- "$1" "$folder/out" || fail "'$1' is not in: $(tail -n 12 "$folder/out")"; }
generate() { "$switchyard" generate "$1" --prompt "the old river" --max-new-tokens 20 --temperature 0; }
"$switchyard" train "$config" "${data[@]}" moe.router=softmax_topk train.train_iters=10 logging.run_dir="$run" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"

echo "--- out and back: the same text"
"$switchyard" convert "$run" "$folder/hub" >"$folder/out" 2>/dev/null
says "model_type mixtral, of step 10\$"
"$switchyard" convert "$folder/hub" "$folder/back" --to switchyard >"$folder/out" 2>/dev/null
says "^$folder/back: [0-9]+ tensors, [0-9]+ parameters, train.dtype f32, from model_type mixtral; there is no tokenizer.json"
[[ $(cd "$folder/back" && echo *) == "checkpoints config.yaml" ]] || fail "$(ls -A "$folder/back")"
cmp <(generate "$run") <(generate "$folder/back") || fail "the text differs"
"$switchyard" inspect "$folder/back" >"$folder/out"
says 'step 0, 0 samples'
"$switchyard" convert "$folder/back" "$folder/hub2" >"$folder/out" 2>/dev/null
cmp "$folder/hub/model.safetensors" "$folder/hub2/model.safetensors"
cmp "$folder/hub/config.json" "$folder/hub2/config.json"

echo "--- a new run starts from it"
starts=("${data[@]}" train.train_iters=3 train.global_batch_size=4 train.micro_batch_size=2 train.seq_length=32 device.peak_tflops=1 logging.log_interval=1)
from() { "$@" "$folder/back/config.yaml" "${starts[@]}" logging.run_dir="$folder/$name" >"$folder/out" 2>&1 || fail "$name: $(tail -n 12 "$folder/out")"; }
first_loss() { losses "$folder/$1" | head -n 1 | cut -d' ' -f2; }
name=one from "$switchyard" train
says "^starting from the weights of $folder/back/checkpoints/step_00000000\$"
"$switchyard" train "$config" "${data[@]}" moe.router=softmax_topk train.train_iters=2 logging.run_dir="$folder/random" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"
awk -v a="$(first_loss one)" -v b="$(first_loss random)" 'BEGIN { exit !(a < b - 0.5) }' || fail "loss $(first_loss one) from the weights, $(first_loss random) from random ones"
if has_mpi; then
  starts+=(parallel.expert_model_parallel_size=2)
  name=two from "${two_ranks[@]}" train
  awk -v a="$(first_loss one)" -v b="$(first_loss two)" 'BEGIN { exit !(a - b < 1e-5 && b - a < 1e-5) }' || fail "loss $(first_loss one) on one rank, $(first_loss two) on two"
  name=verify from "${two_ranks[@]}" verify --replay
  says "^  starting from the weights of $folder/back\$"
  status=0
  "${two_ranks[@]}" verify "$folder/back/config.yaml" "${starts[@]}" model.rope_theta=7 >"$folder/out" 2>&1 || status=$?
  [[ $status -eq 2 ]] || fail "verify from another model's weights: exit code $status: $(tail -n 12 "$folder/out")"
fi

echo "--- mistakes"
# refused TEXT ARGUMENTS...: one message, exit code 2, no folder.
refused() {
  local text="$1" status=0
  shift
  "$switchyard" convert "$@" "$folder/new" >"$folder/out" 2>&1 || status=$?
  [[ $status -eq 2 ]] || fail "exit code $status from $*: $(tail -n 12 "$folder/out")"
  grep -qE "^switchyard: .*$text" "$folder/out" || fail "expected '$text', got: $(tail -n 12 "$folder/out")"
  [[ -z $(find "$folder" -maxdepth 1 -name '*new*') ]] || fail "something is left: $(ls -A "$folder")"
}
refused "'$folder/nowhere' does not exist" "$folder/nowhere"
refused "is a Hugging Face folder already" "$folder/hub" --to hf
refused "is no Hugging Face folder, it has no config.json" "$run" --to switchyard
cp -r "$folder/hub" "$folder/cut"
truncate -s -8 "$folder/cut/model.safetensors"
refused "is truncated" "$folder/cut"
sed 's/"silu"/"gelu"/' "$folder/hub/config.json" >"$folder/cut/config.json"
refused 'hidden_act is "gelu"' "$folder/cut"
status=0
"$switchyard" train "$folder/back/config.yaml" "${data[@]}" model.rope_theta=7 logging.run_dir="$folder/other" >"$folder/out" 2>&1 || status=$?
[[ $status -eq 2 ]] || fail "exit code $status for another model: $(tail -n 12 "$folder/out")"
says "^switchyard: checkpoint.pretrained_checkpoint: .* model.rope_theta is '10000.0' there and '7.0' here"
