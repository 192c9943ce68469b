#!/usr/bin/env bash
# scripts/launch: the dry runs print the right command, mistakes end with 2, and under a stand-in for Slurm SIGUSR1
# reaches the ranks and exit code 75, and no other, queues the job again.
set -euo pipefail
fail() {
  echo "FAILED: $1" >&2
  exit 1
}
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
config=configs/runs/qwen3_30b_a3b_64gpus.yaml
# The ranks that a config's file name says.
ranks_of() { sed -nE 's/.*_([0-9]+)gpus?\.yaml$/\1/p' <<<"$1"; }
expect() { [[ $1 == "$2" ]] || fail "expected: $2"$'\n'"got:      $1"; }

echo "--- hostfile.sh"
printf '# machines\n\n' >"$folder/hosts"
for i in {1..8}; do echo "node$i slots=8"; done >>"$folder/hosts"
expect "$(THREADS=6 LD_LIBRARY_PATH='' scripts/launch/hostfile.sh "$folder/hosts" "$config" train.seed=2 --dry-run)" \
  "+ mpirun -np $(ranks_of "$config") --hostfile $folder/hosts --map-by slot:PE=6 --bind-to core -x OMP_NUM_THREADS=6 -x PATH build/cuda/switchyard train $config train.seed=2"
printf 'node1 slots=2 # two GPUs\nnode2\n' >"$folder/hosts"
expect "$(DRY_RUN=1 THREADS=0 LD_LIBRARY_PATH=/opt/lib SWITCHYARD=/opt/switchyard scripts/launch/hostfile.sh "$folder/hosts" "$config")" \
  "+ mpirun -np 3 --hostfile $folder/hosts --map-by slot --bind-to none -x OMP_NUM_THREADS=1 -x PATH -x LD_LIBRARY_PATH /opt/switchyard train $config"
: >"$folder/empty"
for arguments in "" "$folder/hosts" "$folder/none $config" "$folder/hosts none.yaml" "$folder/empty $config"; do
  status=0
  # shellcheck disable=SC2086
  output="$(scripts/launch/hostfile.sh $arguments --dry-run 2>&1)" || status=$?
  [[ $status -eq 2 && -n $output ]] || fail "'$arguments': exit code $status, $output"
done

echo "--- slurm.sbatch"
expect "$(DRY_RUN=1 SLURM_CPUS_PER_TASK=12 scripts/launch/slurm.sbatch "$config" train.seed=2)" \
  "+ srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores --cpus-per-task=12 build/cuda/switchyard train $config train.seed=2"
option() { sed -nE "s/^#SBATCH --$1=//p" scripts/launch/slurm.sbatch; }
expect "$(($(option nodes) * $(option ntasks-per-node)))" "$(ranks_of "$config")"
expect "$(option gpus-per-node)" "$(option ntasks-per-node)"
for arguments in "" none.yaml; do
  status=0
  # shellcheck disable=SC2086
  DRY_RUN=1 scripts/launch/slurm.sbatch $arguments >/dev/null 2>&1 || status=$?
  [[ $status -eq 2 ]] || fail "'$arguments': exit code $status"
done

echo "--- slurm.sbatch under a stand-in for Slurm"
cat >"$folder/srun" <<'END'
#!/usr/bin/env bash
echo started >"$STAND_IN/state"
trap 'sleep 0.3; exit 75' USR1
for ((i = 0; i < ${SRUN_WAITS:-0}; ++i)); do sleep 0.1; done
exit "${SRUN_EXIT:-0}"
END
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "$*" >>"$STAND_IN/scontrol_calls"\n' >"$folder/scontrol"
chmod +x "$folder/srun" "$folder/scontrol"
export STAND_IN="$folder" PATH="$folder:$PATH" SLURM_JOB_ID=17 SLURM_SUBMIT_DIR="$PWD"
for code in 0 1 2; do
  status=0
  SRUN_EXIT=$code bash scripts/launch/slurm.sbatch "$config" >"$folder/out" 2>&1 || status=$?
  [[ $status -eq $code && ! -e $folder/scontrol_calls ]] || fail "exit code $status instead of $code: $(cat "$folder/out")"
done
rm "$folder/state"
SRUN_WAITS=200 bash scripts/launch/slurm.sbatch "$config" >"$folder/out" 2>&1 &
job=$!
for _ in {1..100}; do [[ -e $folder/state ]] && break; sleep 0.05; done
sleep 0.2
kill -USR1 "$job"
status=0
wait "$job" || status=$?
[[ $status -eq 75 ]] || fail "exit code $status instead of 75: $(cat "$folder/out")"
expect "$(cat "$folder/scontrol_calls")" "requeue 17"
