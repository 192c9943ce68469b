#!/usr/bin/env bash
# One training run over several machines that mpirun reaches by ssh: a rank per slot of a host file. The program, the
# config and the corpora have the same paths everywhere (a shared file system).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
usage() {
  cat <<'END'
scripts/launch/hostfile.sh HOSTS CONFIG [section.key=value ...] [--dry-run]

  HOSTS              an OpenMPI host file, one machine per line: `node1 slots=8`, slots being its GPUs
  CONFIG             a YAML file, for example configs/runs/qwen3_30b_a3b_64gpus.yaml
  --dry-run          print the command, run nothing
  THREADS=N          CPU threads, and cores, per rank (default: this machine's cores by the most slots; 0: unbound)
  SWITCHYARD=PATH    the program (default: build/cuda/switchyard)

SIGUSR1 to the script stops the run after a checkpoint with exit code 75; the same command continues it.
END
}
fail() {
  echo "hostfile.sh: $1" >&2
  exit 2
}
arguments=()
dry_run=0
for word in "$@"; do
  case "$word" in
    -h | --help) usage; exit 0 ;;
    --dry-run) dry_run=1 ;;
    *) arguments+=("$word") ;;
  esac
done
[[ ${#arguments[@]} -ge 2 ]] || { usage >&2; exit 2; }
hosts="${arguments[0]}"
config="${arguments[1]}"
[[ -f $hosts ]] || fail "there is no host file '$hosts'"
[[ -f $config ]] || fail "there is no config '$config'"

# Slots of all machines together, and the most of one; a line without slots= has one.
read -r num_ranks most_slots < <(sed 's/#.*//' "$hosts" | awk 'NF { n = 1
  for (i = 2; i <= NF; ++i) if ($i ~ /^slots=/) n = substr($i, 7)
  sum += n; if (n > most) most = n } END { print sum + 0, most + 0 }')
[[ $num_ranks -gt 0 ]] || fail "'$hosts' names no machine"
num_cores="$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)"
threads="${THREADS:-$((num_cores / most_slots))}"
# Neighbouring ranks share the most traffic, so machines are filled one after the other. Every rank has cores of its own:
# OpenMPI would otherwise bind each rank to one core, and all its threads with it.
if [[ $threads -gt 0 ]]; then
  binding=(--map-by "slot:PE=$threads" --bind-to core)
else
  binding=(--map-by slot --bind-to none)
fi
# -x: what ranks on other machines need from this one's environment.
environment=(-x "OMP_NUM_THREADS=$((threads > 0 ? threads : 1))" -x PATH)
if [[ -n ${LD_LIBRARY_PATH:-} ]]; then environment+=(-x LD_LIBRARY_PATH); fi
command=(mpirun -np "$num_ranks" --hostfile "$hosts" "${binding[@]}" "${environment[@]}"
  "${SWITCHYARD:-build/cuda/switchyard}" train "$config" "${arguments[@]:2}")
if [[ $dry_run -eq 1 || ${DRY_RUN:-0} == 1 ]]; then
  printf '+'
  printf ' %q' "${command[@]}"
  printf '\n'
else
  exec "${command[@]}"
fi
