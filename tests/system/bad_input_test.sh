#!/usr/bin/env bash
# Mistakes of the user: each gives exactly one line "switchyard: ..." that says what and where, exit code 2, and changes
# no file. Under mpirun the line comes once as well and no rank hangs.
# shellcheck source=tests/system/common.sh
source tests/system/common.sh
make_corpus "$folder/train" 300 1
make_corpus "$folder/valid" 10 2
data=(data.train_data_path="[$folder/train]" data.valid_data_path="[$folder/valid]")
run="$folder/run"
small=(train.train_iters=6 checkpoint.save_interval=3)

snapshot() { find "$folder" -type f ! -name 'err' ! -name 'out' ! -name before ! -name after ! -name .lock -printf '%p %T@ ' -exec cksum {} \; | sort; }
# refuses TEXT COMMAND...: TEXT is an extended regular expression for the message.
refuses() {
  local text="$1" status=0
  shift
  snapshot >"$folder/before"
  timeout 30 "$@" >"$folder/out" 2>"$folder/err" </dev/null || status=$?
  snapshot >"$folder/after"
  [[ $status -eq 2 ]] || fail "exit code $status instead of 2 from $*: $(tail -n 12 "$folder/err")"
  [[ $(grep -c '^switchyard: ' "$folder/err") -eq 1 ]] || fail "not one message from $*: $(tail -n 12 "$folder/err")"
  grep -qE "^switchyard: .*$text" "$folder/err" || fail "expected '$text' from $*, got: $(tail -n 12 "$folder/err")"
  if [[ $1 != mpirun ]]; then
    [[ $(wc -l <"$folder/err") -eq 1 ]] || fail "more than one line from $*: $(tail -n 12 "$folder/err")"
  fi
  diff "$folder/before" "$folder/after" >"$folder/out" || fail "files changed by $*: $(tail -n 12 "$folder/out")"
  sed -n 's/^switchyard: /  /p' "$folder/err"
}
# with_line SECTION LINE: the config with a line added to a section; prints its path.
with_line() {
  sed "s/^$1:\$/&\\n  $2/" "$config" >"$folder/edited.yaml"
  echo "$folder/edited.yaml"
}
new=(logging.run_dir="$folder/new")
refuses_config() { refuses "$1" "$switchyard" train "$config" "${data[@]}" "${new[@]}" "${@:2}"; }
refuses_line() { refuses "$1" "$switchyard" train "$(with_line "$2" "$3")" "${data[@]}" "${new[@]}"; }

echo "--- command line"
refuses "unknown command 'trian'; did you mean 'train'" "$switchyard" trian
refuses "no_such.yaml" "$switchyard" train "$folder/no_such.yaml"
refuses "is a folder; name the YAML file inside it" "$switchyard" train "$folder"
refuses "no_such.*" "$switchyard" inspect "$folder/no_such"
refuses "checkpoint '.*no_such' does not exist" "$switchyard" generate "$folder/no_such" --prompt a
refuses "unknown option '--resume'" "$switchyard" train "$config" --resume
refuses "'stray'" "$switchyard" train "$config" stray
printf '\n' >"$folder/empty.yaml"
refuses "empty.yaml" "$switchyard" train "$folder/empty.yaml"
printf 'model: {vocab_size: 257\n' >"$folder/broken.yaml"
refuses "broken.yaml:" "$switchyard" train "$folder/broken.yaml"

echo "--- keys and values"
refuses_line "edited.yaml:3: .*hiden_size.*hidden_size" model "hiden_size: 64"
refuses_line "edited.yaml:3: .*n_embd.*hidden_size" model "n_embd: 64"
refuses_line "edited.yaml:[0-9]+: .*num_local_experts.*num_experts" moe "num_local_experts: 8"
refuses_line "edited.yaml:[0-9]+: .*grad_clip.*clip_grad" optimizer "grad_clip: 1.0"
refuses_config "train_iter.*train_iters" train.train_iter=5
refuses_config "train_iters.*many" train.train_iters=many
refuses_config "train_iters.*2.5" train.train_iters=2.5
refuses_config "lr.*" optimizer.lr=-1
refuses_config "tie_word_embeddings.*" model.tie_word_embeddings=perhaps
refuses_config "softmax_topk" moe.router.type=softmax_topkk
echo "--- impossible sizes"
refuses_config "hidden_size: 32 is not a multiple of num_attention_heads 3" model.num_attention_heads=3
refuses_config "num_key_value_heads: 3 does not divide" model.num_key_value_heads=3
refuses_config "num_experts_per_tok: 5 is more than num_experts 4" moe.num_experts_per_tok=5
refuses_config "global_batch_size: 5 is not a multiple of micro_batch_size 2" train.global_batch_size=5
refuses_config "seq_length: 65 is longer than model.max_position_embeddings 64" train.seq_length=65
refuses_config "cuda" device.type=cuda
refuses_config "tensor_model_parallel_size" parallel.tensor_model_parallel_size=2

echo "--- corpora"
copy_corpus() { cp "$folder/train.bin" "$folder/bad.bin"; cp "$folder/train.idx" "$folder/bad.idx"; }
refuses_corpus() { refuses_config "$1" data.train_data_path="[$folder/bad]" "${@:2}"; }
refuses_corpus "bad.idx" # neither file
copy_corpus && rm "$folder/bad.bin"
refuses_corpus "bad.bin"
copy_corpus && rm "$folder/bad.idx"
refuses_corpus "bad.idx"
copy_corpus && truncate -s -10 "$folder/bad.bin"
refuses_corpus "bad.bin is truncated"
copy_corpus && truncate -s -3 "$folder/bad.idx"
refuses_corpus "bad.idx is truncated"
copy_corpus && truncate -s 5 "$folder/bad.idx"
refuses_corpus "bad.idx"
copy_corpus && : >"$folder/bad.idx"
refuses_corpus "bad.idx"
copy_corpus && printf '\xff\xff' | dd of="$folder/bad.bin" bs=1 seek=2000 conv=notrunc status=none
refuses_corpus "bad.bin: token id 65535 at position 1000 is outside the vocabulary of 257"
copy_corpus
refuses_config "outside the vocabulary of 50" model.vocab_size=50
: >"$folder/nothing.txt"
refuses "the corpus is empty: 1 input file\(s\), 0 bytes" "$switchyard" tokenize --input "$folder/nothing.txt" --output-prefix "$folder/nothing"
refuses "train.bin.*exists|exists.*train" "$switchyard" tokenize --input "$folder/train.txt" --output-prefix "$folder/train"
refuses "missing.txt" "$switchyard" tokenize --input "$folder/missing.txt" --output-prefix "$folder/other"
refuses_config "no training data" data.train_data_path='[]'

echo "--- text that is not UTF-8 is bytes like any other"
printf 'caf\xe9 \xff\xfe\x80 ende\n%.0s' {1..40} >"$folder/latin.txt"
"$switchyard" tokenize --input "$folder/latin.txt" --output-prefix "$folder/latin" >"$folder/out"
bytes="$(stat -c %s "$folder/latin.txt")"
grep -q " $((bytes + 1)) tokens .* $bytes bytes of text" "$folder/out" || fail "$(tail -n 12 "$folder/out")"
"$switchyard" train "$config" data.train_data_path="[$folder/latin]" data.valid_data_path="[$folder/latin]" train.train_iters=2 \
  logging.run_dir="$folder/latin_run" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"

echo "--- checkpoints and run folders"
"$switchyard" train "$config" "${data[@]}" "${small[@]}" logging.run_dir="$run" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"
continues() { refuses "$1" "$switchyard" train "$config" "${data[@]}" "${small[@]}" train.train_iters=9 logging.run_dir="$2" "${@:3}"; }
evaluates() { refuses "$1" "$switchyard" eval "$run" "${@:2}"; }
evaluates "nothing to score"
evaluates "nothing.txt: there is no text to score" --text "$folder/nothing.txt"
evaluates "no_such.txt" --text "$folder/no_such.txt"
evaluates "--seq-length 65 is longer than model.max_position_embeddings: 64" --text "$folder/valid.txt" --seq-length 65
evaluates "--stride 9 is longer than --seq-length 8" --text "$folder/valid.txt" --seq-length 8 --stride 9
evaluates "there is no folder .*no_such" --text "$folder/valid.txt" --json "$folder/no_such/scores.json"
printf '{"context": "a", "choices": ["b"], "answer": 0}\n{"context": "a", "choices": ["b"], "answer": 1}\n' >"$folder/items.jsonl"
evaluates "items.jsonl:2: answer 1 is not the index of one of 1 choices" --choices "$folder/items.jsonl"
head -c 3000 tests/golden/gguf/llama.gguf >"$folder/cut.gguf"
refuses "cut.gguf' is truncated" "$switchyard" convert "$folder/cut.gguf" "$folder/from_gguf"
copy_run() { rm -rf "$folder/copy" && cp -r "$run" "$folder/copy"; }
shard=checkpoints/step_00000006/shard_00000_of_00001.safetensors
copy_run && printf '\x55\xaa\x55' | dd of="$folder/copy/$shard" bs=1 seek=20000 conv=notrunc status=none
continues "shard_00000_of_00001.safetensors.*damaged.*checksum" "$folder/copy"
refuses "damaged" "$switchyard" generate "$folder/copy" --prompt a
refuses "damaged" "$switchyard" inspect "$folder/copy"
copy_run && rm -r "$folder/copy/checkpoints/step_00000003" && truncate -s 500 "$folder/copy/checkpoints/step_00000006/index.json"
continues "no complete checkpoint in .*index.json.*damaged" "$folder/copy"
copy_run && rm -r "$folder/copy/checkpoints/step_00000003" && truncate -s -100 "$folder/copy/$shard"
continues "no complete checkpoint in .*damaged" "$folder/copy"
"$switchyard" train "$config" "${data[@]}" train.train_iters=2 model.hidden_size=64 logging.run_dir="$folder/wide" >"$folder/out" 2>&1
continues "shape|\[257, 64\]" "$folder/new" checkpoint.load="$folder/wide"
"$switchyard" train "$config" "${data[@]}" train.train_iters=2 model.num_hidden_layers=1 logging.run_dir="$folder/flat" >"$folder/out" 2>&1
continues "model.layers.1" "$folder/new" checkpoint.load="$folder/flat"
mkdir "$folder/foreign" && printf '{"weight_map": {}}\n' >"$folder/foreign/model.safetensors.index.json"
continues "neither a checkpoint nor a folder with checkpoints" "$folder/new" checkpoint.load="$folder/foreign"
continues "belongs to another configuration: optimizer.lr is '0.01' there and '0.02' here" "$run" optimizer.lr=0.02
continues "belongs to another configuration: model.hidden_size" "$run" model.hidden_size=64
continues "already holds checkpoints of this run" "$run" checkpoint.load=none
continues "already holds checkpoints of this run" "$run" checkpoint.load="$folder/flat"
continues "is not a run folder" "$folder/foreign"
continues "is a file" "$folder/train.txt"
mkdir "$folder/locked" && cp "$run/config.yaml" "$folder/locked/"
flock "$folder/locked" true
exec 9>"$folder/locked/.lock" && flock 9
continues "another process is writing to the run folder" "$folder/locked"
exec 9>&-

echo "--- a damaged newest checkpoint: the one before it is used, and that is said"
copy_run && truncate -s -100 "$folder/copy/$shard"
"$switchyard" train "$config" "${data[@]}" "${small[@]}" logging.run_dir="$folder/copy" >"$folder/out" 2>&1 || fail "$(tail -n 12 "$folder/out")"
grep -q "step_00000006.*damaged" "$folder/out" || fail "$(tail -n 12 "$folder/out")"
grep -q "^continuing from .*step_00000003 (step 3)\$" "$folder/out" || fail "$(tail -n 12 "$folder/out")"

echo "--- a full disk: the message names the file, the last complete checkpoint stays usable"
# A file size limit does where no file system can be mounted: a shard exceeds it, the smaller files do not.
full_disk() {
  local status=0 line
  "$@" >"$folder/out" 2>"$folder/err" </dev/null || status=$?
  [[ $status -eq 2 ]] || fail "exit code $status: $(tail -n 12 "$folder/err")"
  line="$(grep '^switchyard: ' "$folder/err")"
  [[ $(wc -l <<<"$line") -eq 1 && $line =~ "was not written: rank 0: cannot write '" ]] || fail "$(tail -n 12 "$folder/err")"
  echo "  ${line#switchyard: }"
}
limited="$folder/limited"
cp -r "$run" "$limited"
# shellcheck disable=SC2016
full_disk bash -c 'ulimit -f 100; exec "$@"' limited "$switchyard" train "$config" "${data[@]}" "${small[@]}" train.train_iters=9 \
  logging.run_dir="$limited"
grep -q "File too large" "$folder/err" || fail "$(tail -n 12 "$folder/err")"
disk="$folder/disk"
mkdir "$disk"
if unshare -m mount -t tmpfs -o size=64k none "$disk" 2>/dev/null; then
  # The run folder fits with one checkpoint and a half.
  shard_kilobytes="$(du -k "$run/$shard" | cut -f1)"
  # shellcheck disable=SC2016
  unshare -m bash -c 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && trap "cp -r \"$0\" \"$0_kept\"" EXIT && "$@"' \
    "$disk" "$((shard_kilobytes * 3 / 2 + 60))k" "$disk" "$switchyard" train "$config" "${data[@]}" "${small[@]}" \
    logging.run_dir="$disk/run" >"$folder/out" 2>"$folder/err" </dev/null && fail "a full disk went unnoticed"
  grep -q "^switchyard: checkpoint of step 6 was not written: rank 0: cannot write '.*': No space left on device" "$folder/err" ||
    fail "$(tail -n 12 "$folder/err")"
  sed -n 's/^switchyard: /  /p' "$folder/err"
  mv "${disk}_kept/run" "$folder/after_full"
else
  echo "  (no file system can be mounted here)"
fi
for kept in "$limited" "$folder/after_full"; do
  if [[ ! -e $kept ]]; then continue; fi
  [[ $(find "$kept/checkpoints" -name '.tmp*' | wc -l) -eq 0 ]] || fail "remains: $(find "$kept/checkpoints")"
  "$switchyard" train "$config" "${data[@]}" "${small[@]}" train.train_iters=9 logging.run_dir="$kept" >"$folder/out" 2>&1 ||
    fail "no start after a full disk: $(tail -n 12 "$folder/out")"
  grep -q '^continuing from ' "$folder/out" || fail "$(tail -n 12 "$folder/out")"
done
# shellcheck disable=SC2016
refuses "cannot write '.*File too large" bash -c 'ulimit -f 4; "$@"' limited \
  "$switchyard" tokenize --input "$folder/train.txt" --output-prefix "$folder/partial"

if has_mpi; then
  echo "--- two ranks"
  refuses "hiden_size" "${two_ranks[@]}" train "$(with_line model "hiden_size: 64")" "${data[@]}" "${new[@]}"
  refuses "global_batch_size: 2 is not a multiple of micro_batch_size 2 x 2 data-parallel ranks; 4 is" \
    "${two_ranks[@]}" train "$config" "${data[@]}" "${new[@]}" train.global_batch_size=2
  refuses "another configuration" "${two_ranks[@]}" train "$config" "${data[@]}" "${small[@]}" logging.run_dir="$run" optimizer.lr=0.02
  copy_run && printf '\x55\xaa\x55' | dd of="$folder/copy/$shard" bs=1 seek=20000 conv=notrunc status=none
  refuses "damaged" "${two_ranks[@]}" train "$config" "${data[@]}" "${small[@]}" train.train_iters=9 logging.run_dir="$folder/copy"
  refuses "bad.bin" "${two_ranks[@]}" train "$config" "${data[@]}" "${new[@]}" data.train_data_path="[$folder/absent_bad.bin]"
fi
