#!/usr/bin/env bash
# scripts/train around a stand-in for the built binary: it prepares each missing corpus once, passes overrides, threads
# and SIGUSR1 through the real mpirun, and ends with the ranks' exit code. (What the real binary does with SIGUSR1 is
# tested with the trainer.)
set -euo pipefail
fail() {
  echo "FAILED: $1" >&2
  exit 1
}
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/sy/build/cpu" "$folder/bin" "$folder/sy/corpora/present"
cp -r scripts "$folder/sy/"
# Where the packages are in a prefix, its env.sh must not put the real cmake before the stand-in.
if [[ -f .local/prefix/env.sh ]]; then
  mkdir -p "$folder/sy/.local/prefix"
  ln -s "$PWD/.local/prefix/unpacked" "$folder/sy/.local/prefix/unpacked"
  # shellcheck disable=SC2016
  printf 'source "%s"\nexport PATH="%s:$PATH"\n' "$PWD/.local/prefix/env.sh" "$folder/bin" >"$folder/sy/.local/prefix/env.sh"
  # shellcheck source=/dev/null
  source .local/prefix/env.sh
fi
command -v mpirun >/dev/null || { echo "SKIPPED: no mpirun on this machine"; exit 77; }
cd "$folder/sy"

# Stand-ins: a build that has nothing to do, a corpus maker that records its arguments, a rank that waits for SIGUSR1.
printf '#!/bin/sh\nexit 0\n' >"$folder/bin/cmake"
cat >scripts/prepare_corpus <<'END'
#!/bin/sh
echo "$*" >>corpus_calls
END
cat >build/cpu/switchyard <<'END'
#!/usr/bin/env bash
trap 'echo "rank $OMPI_COMM_WORLD_RANK got SIGUSR1"; exit 75' USR1
echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE threads $OMP_NUM_THREADS: $*"
for argument in "$@"; do [[ $argument == train.fail=1 ]] && exit 2; done
for argument in "$@"; do [[ $argument == train.wait=1 ]] || continue
  for _ in {1..200}; do sleep 0.1; done
done
exit 0
END
chmod +x "$folder/bin/cmake" scripts/prepare_corpus build/cpu/switchyard
cat >run.yaml <<'END'
data:
  train: corpora/kjv/train      # not corpora/comment
  valid: corpora/kjv/valid
  more: [corpora/present/train, corpora/fortunes/train]
END
touch corpora/present/train.bin corpora/present/train.idx
export PATH="$folder/bin:$PATH"

echo "--- wrong use ends with 2 and says why"
for arguments in "no_such.yaml" "run.yaml --np zero" "run.yaml --no-such-option" "run.yaml stray" "run.yaml --build-only"; do
  status=0
  # shellcheck disable=SC2086
  output="$(scripts/train $arguments 2>&1)" || status=$?
  [[ $status -eq 2 && -n $output ]] || fail "'$arguments': exit code $status, $output"
done

echo "--- a dry run changes nothing"
output="$(scripts/train run.yaml --preset cpu --dry-run)"
[[ $output == *"+ mpirun -np "* && ! -e corpus_calls ]] || fail "dry run: $output"

echo "--- two ranks, overrides passed on, missing corpora made once each, exit code 0"
output="$(scripts/train run.yaml train.max_steps=3 data.extra=corpora/third/x --preset cpu --np 2 2>&1)" || fail "$output"
for rank in 0 1; do
  grep -qE "rank $rank of 2 threads [1-9][0-9]*: train run.yaml train.max_steps=3 data.extra=corpora/third/x" <<<"$output" ||
    fail "rank $rank did not get its arguments: $output"
done
[[ $(sort corpus_calls | tr '\n' '|') == "fortunes --switchyard build/cpu/switchyard|kjv --switchyard build/cpu/switchyard|third --switchyard build/cpu/switchyard|" ]] ||
  fail "corpora: $(cat corpus_calls)"

echo "--- only the build: no corpus, no rank"
rm corpus_calls
output="$(scripts/train --build-only --preset cpu 2>&1)" || fail "$output"
[[ $output == *"[2/4] build"* && $output != *"rank 0"* && ! -e corpus_calls ]] || fail "build only: $output"

echo "--- the ranks' exit code comes out"
status=0
scripts/train run.yaml train.fail=1 --preset cpu --np 2 >out 2>&1 || status=$?
[[ $status -eq 2 ]] || fail "exit code $status instead of 2: $(cat out)"

echo "--- SIGUSR1 to the script reaches the ranks, which end with 75"
scripts/train run.yaml train.wait=1 --preset cpu --np 2 >out 2>&1 &
script_pid=$!
for _ in {1..100}; do
  [[ $(grep -c 'threads' out) -ge 2 ]] && grep -q 'rank 1 of 2' out && break
  sleep 0.1
done
kill -USR1 "$script_pid"
status=0
wait "$script_pid" || status=$?
[[ $status -eq 75 ]] || fail "exit code $status instead of 75: $(cat out)"
grep -q 'got SIGUSR1' out || fail "no rank got SIGUSR1: $(cat out)"

echo "--- SIGTERM ends it within seconds"
scripts/train run.yaml train.wait=1 --preset cpu --np 2 >out 2>&1 &
script_pid=$!
for _ in {1..100}; do
  grep -q 'rank 1 of 2' out && break
  sleep 0.1
done
start=$SECONDS
kill -TERM "$script_pid"
status=0
wait "$script_pid" || status=$?
[[ $status -ne 0 && $((SECONDS - start)) -lt 10 ]] || fail "exit code $status after $((SECONDS - start)) s: $(cat out)"
