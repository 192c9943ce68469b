#!/usr/bin/env bash
# scripts/setup as an ordinary user: it lists what is missing with the sudo line and changes nothing; with --prefix it
# unpacks the packages into a folder, where cmake, the compiler and mpirun really find and use them; a second call does
# nothing. Run by root it takes an unprivileged user id; run by anybody else it is that user.
set -euo pipefail
repository="$PWD"
skip() {
  echo "SKIPPED: $1"
  exit 77
}
fail() {
  echo "FAILED: $1" >&2
  exit 1
}
command -v apt-get >/dev/null || skip "no apt-get on this system"

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
as_user=()
if [[ $(id -u) -eq 0 ]]; then
  user_id="$(id -u nobody 2>/dev/null)" || skip "running as root, and there is no user 'nobody' to become"
  as_user=(setpriv --reuid="$user_id" --regid="$(id -g nobody)" --clear-groups)
  "${as_user[@]}" true 2>/dev/null || skip "running as root, and setpriv cannot become an ordinary user here"
fi
mkdir "$folder/sy" "$folder/home"
cp -r "$repository/scripts" "$folder/sy/"
cp -r "$repository/tests/system/setup_probe" "$folder/home/probe"
chmod -R a+rX "$folder"
if [[ $(id -u) -eq 0 ]]; then chown -R "$user_id" "$folder/home" "$folder/sy"; fi

# user PRETEND_MISSING COMMAND: a shell with an empty environment, as after logging in.
user() {
  "${as_user[@]}" env -i HOME="$folder/home" PATH=/usr/local/bin:/usr/bin:/bin SY_SETUP_PRETEND_MISSING="$1" \
    bash -euo pipefail -c "cd '$folder/sy'; $2" </dev/null
}

echo "--- what is missing is listed with the sudo line, nothing is installed, exit code 3"
status=0
output="$(user "libfmt-dev cmake" "scripts/setup --train-only")" || status=$?
[[ $status -eq 3 ]] || fail "exit code $status instead of 3: $output"
grep -q 'sudo apt-get install .*cmake .*libfmt-dev' <<<"$output" || fail "no sudo line with both packages in: $output"
user "" "! test -e .local"

echo "--- --check and --list"
status=0
output="$(user "libcli11-dev" "scripts/setup --train-only --check")" || status=$?
[[ $status -eq 3 && $output == *libcli11-dev* ]] || fail "--check: exit code $status, $output"
output="$(user "" "scripts/setup --list --train-only")"
[[ $output == *openmpi-bin* && $output != *libgtest-dev* ]] || fail "--list --train-only: $output"

# The probe's libraries and the MPI launcher come from the prefix; the compiler and cmake are the system's.
pretend="libfmt-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libxxhash-dev libpcre2-dev libutf8proc-dev libopenmpi-dev openmpi-bin"
echo "--- --prefix unpacks them"
if ! user "$pretend" "scripts/setup --train-only --prefix .local/prefix" >"$folder/setup.log" 2>&1; then
  cat "$folder/setup.log"
  if grep -qE 'Could not resolve|Failed to fetch|Temporary failure|Could not connect|Unable to connect' "$folder/setup.log"; then
    skip "the Debian archive cannot be reached from here, so nothing could be downloaded"
  fi
  fail "scripts/setup --prefix"
fi
tail -n 1 "$folder/setup.log"

echo "--- cmake finds them in the prefix; the program builds and runs on two ranks"
user "" "source .local/prefix/env.sh && cd '$folder/home/probe' && cmake -G Ninja -B build . && ninja -C build" \
  >"$folder/build.log" 2>&1 || { cat "$folder/build.log"; fail "the probe does not build against the prefix"; }
for name in fmt_DIR yaml-cpp_DIR nlohmann_json_DIR CLI11_DIR MPI_CXX_COMPILER XXHASH_LIBDIR PCRE2_LIBDIR \
  UTF8PROC_LIBDIR; do
  grep -qE "found $name $folder/sy/.local/prefix/usr/" "$folder/build.log" ||
    fail "$name is not from the prefix: $(grep "found $name" "$folder/build.log")"
done
output="$(user "" "source .local/prefix/env.sh && mpirun --oversubscribe -np 2 '$folder/home/probe/build/probe' 2>&1")" ||
  fail "the probe does not run: $output"
[[ $(grep -c 'of 2 sum 3 yaml 3' <<<"$output") -eq 2 ]] || fail "wrong output of the probe: $output"
user "" "source .local/prefix/env.sh && command -v mpirun" | grep -q '/.local/prefix/' || fail "mpirun is not from the prefix"

echo "--- a second call downloads nothing and is quick"
start=$(date +%s%N)
output="$(user "$pretend" "scripts/setup --train-only --prefix .local/prefix")"
milliseconds=$((($(date +%s%N) - start) / 1000000))
[[ $output == *"everything needed is there"* ]] || fail "the second call still works: $output"
echo "$milliseconds ms"
[[ $milliseconds -lt 2000 ]] || fail "a setup with nothing to do took $milliseconds ms"
