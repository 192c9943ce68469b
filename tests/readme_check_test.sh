#!/usr/bin/env bash
# The README check is worth nothing if it accepts everything: pages with one mistake each must fail, naming it.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
fence='```'

# rejects TEXT WHAT: a page with this text fails, and the message contains WHAT.
rejects() {
  printf '%b\n' "$1" >"$folder/page.md"
  if output="$(bash tests/readme_test.sh "$folder/page.md" 2>&1)"; then
    echo "accepted although wrong: $1" >&2
    exit 1
  fi
  if [[ $output != *"$2"* ]]; then
    echo "rejected, but '$2' is not named in: $output" >&2
    exit 1
  fi
}
good="${fence}sh\n./scripts/format --check\n${fence}\n\`csrc/core/check.h\` [license](LICENSE) \`runs/x/metrics.jsonl\`"
printf '%b\n' "$good" >"$folder/page.md"
bash tests/readme_test.sh "$folder/page.md"

rejects "$good\n\`csrc/core/no_such.h\`" "csrc/core/no_such.h"
rejects "$good\n[page](docs/no_such.md)" "docs/no_such.md"
rejects "$good\n${fence}sh\n./scripts/no_such --fast\n${fence}" "scripts/no_such"
rejects "$good\n${fence}sh\n./scripts/train configs/no_such.yaml\n${fence}" "configs/no_such.yaml"
rejects "$good\n${fence}sh\nfrobnicate\n${fence}" "frobnicate"
rejects "$good\n${fence}sh\nswitchyard no_such_subcommand\n${fence}" "no_such_subcommand"
rejects "$good\n\`summary.json\`" "summary.json"
rejects "no command at all" "no command"
echo "the README check finds every planted mistake"
