#!/usr/bin/env bash
# The whole program with device.type: cuda, in a build on simulated CUDA: training, held-out loss, checkpoints, resuming
# and generation; the losses of the CPU, and to the bit the same under every order of streams and threads.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 60 1
make_corpus "$folder/valid" 20 2

# train SEED RUN ARGUMENT...
train() {
  SY_SIM_SEED="$1" "$switchyard" train "$config" data.train_data_path="[$folder/train]" \
    data.valid_data_path="[$folder/valid]" train.train_iters=4 train.eval_iters=1 train.seq_length=16 \
    checkpoint.save_interval=2 logging.run_dir="$folder/$2" "${@:3}" >"$folder/$2.log" 2>&1 </dev/null ||
    fail "$2: $(tail -n 12 "$folder/$2.log")"
}

train 0 cpu
train 0 eager device.type=cuda
train 1 lazy device.type=cuda
[[ "$(losses "$folder/eager" | wc -l)" -eq 4 ]] || fail "there are not 4 losses: $(losses "$folder/eager")"
[[ "$(losses "$folder/lazy")" == "$(losses "$folder/eager")" ]] ||
  fail "another order, other losses: $(losses "$folder/eager") and $(losses "$folder/lazy")"
[[ "$(summary "$folder/lazy" eval_loss)" == "$(summary "$folder/eager" eval_loss)" ]] || fail "another held-out loss"

# Without replayed assignments a near tie may go the other way, so this bound is coarse.
paste <(losses "$folder/cpu") <(losses "$folder/eager") |
  awk '{ d = $2 / $4 - 1; if (d > 1e-3 || d < -1e-3) { print "step " $1 ": " $2 " and " $4; wrong = 1 } } END { exit wrong }' ||
  fail "the losses are not those of the CPU"

train 7 resumed device.type=cuda checkpoint.load="$(echo "$folder"/eager/checkpoints/*2)"
[[ "$(losses "$folder/resumed")" == "$(losses "$folder/eager" | tail -n 2)" ]] ||
  fail "resumed from step 2: $(losses "$folder/resumed"), whole: $(losses "$folder/eager")"

for seed in 0 1; do
  SY_SIM_SEED=$seed "$switchyard" generate "$folder/eager" --prompt "the old " --max-new-tokens 8 --temperature 0 \
    >"$folder/text_$seed" 2>"$folder/generate.log" || fail "generate: $(tail -n 12 "$folder/generate.log")"
done
cmp "$folder/text_0" "$folder/text_1" || fail "another order, another text"
[[ "$(head -c 8 "$folder/text_0")" == "the old " ]] || fail "the prompt does not begin the text"
