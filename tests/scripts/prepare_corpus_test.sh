#!/usr/bin/env bash
# scripts/prepare_corpus without network: the bible program, apt-get and switchyard are stand-ins on PATH. Checks what is
# written, that a second run changes nothing, that damage is repaired, and that failures are one line and exit code 2.
set -euo pipefail

script=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/scripts/prepare_corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

mkdir "$work/bin"
cat > "$work/bin/bible" <<'EOF'
#!/bin/sh
case $2 in
  gen1:1) echo "Ge1:1 In the beginning" ;;
  *) awk -v n="${FAKE_VERSES:-31102}" 'BEGIN { for (i = 1; i <= n; ++i) print "Ge1:" i " verse number " i }' ;;
esac
EOF
printf '#!/bin/sh\necho "E: no network" >&2\nexit 100\n' > "$work/bin/apt-get"
cat > "$work/bin/switchyard" <<'EOF'
#!/bin/sh
echo "$*" >> "$TOKENIZE_LOG"
while [ $# -gt 0 ]; do
  case $1 in --input) input=$2 ;; --output-prefix) prefix=$2 ;; esac
  shift
done
cp "$input" "$prefix.bin" && wc -c < "$input" > "$prefix.idx"
EOF
chmod +x "$work"/bin/*
export PATH="$work/bin:$PATH" TOKENIZE_LOG="$work/tokenize.log"
out="$work/corpora"
prepare() { "$script" "$@" --output "$out" --switchyard "$work/bin/switchyard" > "$work/log" 2>&1; }
expect_log() { grep -q -- "$1" "$work/log" || { cat "$work/log" >&2; fail "the output lacks '$1'"; }; }
expect_refused() {
  local code=0
  prepare "$@" || code=$?
  [[ $code == 2 ]] || fail "'$*' ended with $code, not 2"
}
snapshot() { (cd "$out" && find . -type f ! -name .lock -printf '%p %T@ %s\n' | sort); }

prepare kjv || { cat "$work/log" >&2; fail "the first run"; }
[[ $(wc -c < "$out/kjv_valid.txt") == 200000 ]] || fail "200000 bytes are held out"
cat "$out/kjv_train.txt" "$out/kjv_valid.txt" | cmp - "$out/kjv.txt" || fail "train and valid make up the text"
[[ $(head -n 1 "$out/kjv.txt") == "verse number 1" ]] || fail "verses stand without their references"
cmp "$out/kjv_train.txt" "$out/kjv_train.bin" || fail "kjv_train.txt is what is tokenized"
[[ $(wc -l < "$TOKENIZE_LOG") == 2 ]] || fail "two token corpora"
grep -q -- '--tokenizer bytes' "$TOKENIZE_LOG" || fail "the tokenizer is passed on"
expect_log 'kjv_valid.txt: 200000 bytes, gzip -9'

# gzip's figure is bytes * 8 * ln 2 / bytes, from the file itself.
nats=$(gzip -9 -c "$out/kjv_valid.txt" | wc -c | awk '{ printf "%.3f", $1 * 8 * log(2) / 200000 }')
expect_log "gzip -9 .* = $nats nats per byte"

before=$(snapshot)
prepare kjv_train kjv_valid || fail "the second run, by prefix"
[[ $(snapshot) == "$before" ]] || fail "a second run changes nothing"

truncate -s 100 "$out/kjv_valid.bin"
prepare kjv || fail "the run after damage"
cmp "$out/kjv_valid.txt" "$out/kjv_valid.bin" || fail "a damaged token corpus is made again"
[[ $(wc -l < "$TOKENIZE_LOG") == 3 ]] || fail "only the damaged one is made again"

echo more >> "$out/kjv.txt"
prepare kjv || fail "the run after a changed text"
[[ $(tail -n 1 "$out/kjv.txt") == "verse number 31102" ]] || fail "a changed text is made again"

prepare kjv --tokenizer other || fail "another tokenizer"
tail -n 1 "$TOKENIZE_LOG" | grep -q -- '--tokenizer other' || fail "another tokenizer makes new tokens"
echo '{}' > "$work/tokenizer.json"
(cd "$work" && prepare kjv --tokenizer tokenizer.json) || fail "a tokenizer file beside the caller"
tail -n 1 "$TOKENIZE_LOG" | grep -q -- "--tokenizer $work/tokenizer.json" || fail "its path holds in the corpus folder"

FAKE_VERSES=31000 expect_refused kjv --force
expect_log '31102 verses'
[[ $(tail -n 1 "$out/kjv.txt") == "verse number 31102" ]] || fail "a failed run keeps the old text"
expect_refused fortunes_de
expect_log 'no network'
expect_refused fortunes
expect_refused linux
expect_refused genesis
expect_log "unknown argument 'genesis'"
expect_refused fortunes_xx
expect_refused kjv --switchyard
"$script" --help > "$work/log" || fail "--help"
expect_log 'fortunes_de'
echo "prepare_corpus: all checks passed"
