#!/usr/bin/env bash
# readme_test.sh [FILE] : every command and path in a Markdown page (default: README.md) exists.
# - ```sh fences: a command line starts with a file of this repository, with the switchyard binary, or with one of a few
#   system commands; `--help` of the first two ends with 0, and arguments that look like files exist.
# - `backticks` and links: what looks like a path exists, or is git-ignored as a thing that runs make (runs/, corpora/).
set -euo pipefail
page="${1:-README.md}"
page_folder="$(dirname "$page")"
build="${SY_BUILD_DIR:-build/cpu}"
made_by_runs="$(sed -n 's#^/\([^/]*\)/\{0,1\}$#\1#p' .gitignore | tr '\n' ' ')"
problems=0
commands=0
paths=0
problem() {
  echo "$page: $1" >&2
  problems=$((problems + 1))
}

# A path from the root or, as links are written, from the page's own folder.
check_path() {
  local path="${1%%#*}"
  path="${path%%:[0-9]*}"
  paths=$((paths + 1))
  if [[ -e $path || -e $page_folder/$path ]]; then return; fi
  if [[ " $made_by_runs " == *" ${path%%/*} "* ]]; then return; fi
  problem "there is no '$1'"
}
looks_like_path() { [[ $1 =~ ^[A-Za-z0-9_.][A-Za-z0-9_./-]*$ && ! $1 =~ ^\.[a-z]+$ && ($1 == */* || $1 =~ \.(md|yaml|txt|h|cpp|cu|sh|json)$) ]]; }

check_command() {
  local -a words
  read -ra words <<<"$1"
  while [[ ${words[0]:-} =~ ^[A-Z_]+= ]]; do words=("${words[@]:1}"); done
  if [[ ${words[0]:-} == mpirun ]]; then
    while [[ ${#words[@]} -gt 0 && ${words[0]} != *switchyard ]]; do words=("${words[@]:1}"); done
  fi
  local program="${words[0]:-}"
  commands=$((commands + 1))
  case "$program" in
    git | cd | sudo | cat | tail | cmake | ctest | tensorboard) return ;;
    build/*/switchyard | switchyard)
      # The list in `switchyard --help` decides: an argument parser may answer --help for a subcommand it does not have.
      local subcommand=() listed
      if [[ ${words[1]:-} =~ ^[a-z] ]]; then subcommand=("${words[1]}"); fi
      listed="$("$build/switchyard" --help 2>/dev/null </dev/null || true)"
      if [[ ${#subcommand[@]} -gt 0 ]] && ! grep -qE "^ +${subcommand[0]}( |\$)" <<<"$listed"; then
        problem "'switchyard --help' does not list '${subcommand[0]}' (in '$1')"
      elif ! "$build/switchyard" ${subcommand[@]+"${subcommand[@]}"} --help >/dev/null 2>&1 </dev/null; then
        problem "'$program ${subcommand[*]} --help' fails (in '$1')"
      fi
      ;;
    */*)
      if [[ ! -x $program ]]; then problem "'$program' is not a program (in '$1')"; return; fi
      if ! "$program" --help >/dev/null 2>&1 </dev/null; then problem "'$program --help' fails (in '$1')"; fi
      ;;
    *) problem "unknown command '$program' (in '$1')"; return ;;
  esac
  local word
  for word in "${words[@]:1}"; do
    if [[ $word != *=* ]] && looks_like_path "$word"; then check_path "$word"; fi
  done
}

in_fence=
while IFS= read -r line; do
  if [[ $line =~ ^\`\`\`(.*)$ ]]; then
    if [[ -n $in_fence ]]; then in_fence=; else in_fence="${BASH_REMATCH[1]:-text}"; fi
    continue
  fi
  if [[ $in_fence == sh ]]; then
    line="${line%%#*}"
    if [[ $line =~ [^[:space:]] ]]; then check_command "$line"; fi
  elif [[ -z $in_fence ]]; then
    # shellcheck disable=SC2016
    while IFS= read -r quoted; do
      if looks_like_path "$quoted"; then check_path "$quoted"; fi
    done < <(grep -oE '`[^`]+`' <<<"$line" | tr -d '`' || true)
    while IFS= read -r link; do
      if [[ $link != *://* && $link != '#'* ]]; then check_path "$link"; fi
    done < <(grep -oE '\]\([^) ]+\)' <<<"$line" | sed 's/^](//; s/)$//' || true)
  fi
done <"$page"

if [[ $((commands + paths)) -eq 0 ]]; then problem "there is no command and no path to check"; fi
echo "$page: $commands commands and $paths paths checked, $problems problems"
[[ $problems -eq 0 ]]
