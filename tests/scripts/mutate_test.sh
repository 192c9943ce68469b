#!/usr/bin/env bash
# scripts/mutate on a tree of one function: sees which changes the tests notice, goes on where it stopped, judges survivors
# anew when their tests change, and leaves the tree as it is.
set -euo pipefail
fail() {
  echo "FAILED: $1" >&2
  exit 1
}
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"/{kernels,parallel,tests/kernels,tests/mutants}
cat >"$folder/kernels/sum.h" <<'END'
int sum_below(const int* x, int count, int limit);
END
cat >"$folder/kernels/sum.cpp" <<'END'
#include "kernels/sum.h"
int sum_below(const int* x, int count, int limit) {
  int sum = 0;  // not " = 0;"
  for (int i = 0; i < count; ++i)
    if (x[i] < limit) sum += x[i];
  return sum;
}
END
cat >"$folder/tests/kernels/sum_test.cpp" <<'END'
#include "kernels/sum.h"
int main() {
  const int* x = new int[3]{1, 5, 2};
  return sum_below(x, 3, 4) == 3 ? 0 : 1;
}
END
cat >"$folder/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(tiny LANGUAGES CXX)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
include_directories(${PROJECT_SOURCE_DIR})
add_library(tiny STATIC kernels/sum.cpp)
add_executable(sum_test tests/kernels/sum_test.cpp)
target_link_libraries(sum_test tiny)
enable_testing()
add_test(NAME sum_test COMMAND sum_test)
END
echo '{"version": 6, "configurePresets": [{"name": "cpu", "generator": "Ninja", "binaryDir": "${sourceDir}/build/cpu"}]}' \
  >"$folder/CMakePresets.json"
echo '[]' >"$folder/tests/mutants/wider.json"
echo '[{"path": "kernels/sum.cpp", "before": "if (x[i] < limit) sum += x[i];", "after": "if (x[i] <= limit) sum += x[i];",
  "reason": "the limit itself is not tried"}]' >"$folder/tests/mutants/survivors.json"
echo /build/ >"$folder/.gitignore"
git -C "$folder" init --quiet
git -C "$folder" add .

# mutate STATUS ARGUMENTS...: runs it, its output in $output and its judgements, sorted, in $judged.
mutate() {
  local expected="$1" status=0
  shift
  output="$(scripts/mutate --root "$folder" --presets cpu "$@" 2>&1)" || status=$?
  judged="$(sed -nE 's/^\[[^]]*\] ([a-z]+).*: kernels\/sum.cpp:([0-9]+) ([a-z]+): .*/\2 \3 \1/p' <<<"$output" | sort)"
  [[ $status -eq $expected ]] || fail "exit code $status instead of $expected: $output"
}
expect() { [[ $judged == "$1" ]] || fail "judged: $judged"$'\n'"of: $output"; }
sum_before="$(cat "$folder/kernels/sum.cpp")"

cat >"$folder/kernels/kinds.cpp" <<'END'
#if A == 1
__syncthreads();
void wait();
if (done) request.wait();
SY_KERNEL_CHECK(count > 0);
y[row * width + column] = x[i - 1] / z;
if (a && b) say("a < b");  // a == b
total -= table[t][e];
END
mutate 0 --list --only kernels/kinds.cpp
listed="$(sed 's/^kernels.kinds.cpp://' <<<"$output" | sort)"
[[ $listed == "2 barrier: \`__syncthreads();\` -> \`(void)0;\`
4 barrier: \`if (done) request.wait();\` -> \`if (done) (void)0;\`
6 bound: \`y[row * width + column] = x[i - 1] / z;\` -> \`y[row * width + column] = x[i] / z;\`
6 index: \`y[row * width + column] = x[i - 1] / z;\` -> \`y[column * width + row] = x[i - 1] / z;\`
7 logic: \`if (a && b) say(\"a < b\");  // a == b\` -> \`if (a || b) say(\"a < b\");  // a == b\`
8 index: \`total -= table[t][e];\` -> \`total -= table[e][t];\`
8 sum: \`total -= table[t][e];\` -> \`total += table[t][e];\`" ]] || fail "listed: $listed"
rm "$folder/kernels/kinds.cpp"

mutate 75 --minutes 0
expect ""
mutate 1
expect "3 bound killed
4 bound killed
4 comparison killed
5 comparison survived
5 sum killed"
[[ $output == *"by cpu/sum_test: AddressSanitizer: heap-buffer-overflow: kernels/sum.cpp:4 comparison"* ]] || fail "$output"
[[ $output == *"| all | 5 | 4 | 80 % |"* && $output == *"x[i];\`: the limit itself is not tried"* ]] || fail "table: $output"
mutate 1
expect ""
sed -i 's/sum_below(x, 3, 4) == 3/sum_below(x, 3, 4) == 3 \&\& sum_below(x, 3, 2) == 1/' "$folder/tests/kernels/sum_test.cpp"
mutate 0
expect "5 comparison killed"
[[ $(cat "$folder/kernels/sum.cpp") == "$sum_before" ]] || fail "the tree was changed"
mutate 2 --only kernels/none
[[ $output == "mutate: --only kernels/none: there is no such file or folder" ]] || fail "$output"
rm "$folder/build/mutation/results.jsonl"
sed -i 's/== 3 /== 4 /' "$folder/tests/kernels/sum_test.cpp"
mutate 2
[[ $output == *"mutate: no test of kernels/sum.cpp passes without a change"* ]] || fail "$output"
echo "scripts/mutate tells what the tests notice"
