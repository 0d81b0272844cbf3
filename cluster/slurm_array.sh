#!/bin/bash
# One array task per run of a sweep or of a queue. Change the resources below to yours, then, from the project's folder:
#
#     python sweep.py sweep.yaml --dry_run | wc -l                       how many runs there are, say 18
#     sbatch --array=0-17 cluster/slurm_array.sh sweep.yaml              task k is run k; no server is needed
#     sbatch --array=0-17 cluster/slurm_array.sh ENTITY/PROJECT/SWEEP    each task asks W&B for one run
#
# With a sweep file, a task that comes to its time limit saves its run, goes back into the queue and goes on there.
# `python sweep.py sweep.yaml` afterwards prints the table.
#SBATCH --job-name=sweep
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm_%A_%a.log
##SBATCH --gres=gpu:1
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}" || exit 2

case "${1:?a sweep file or the ID of a W&B sweep is missing}" in
*.yaml | *.yml | *.json) run=(python sweep.py "$@" --only "${SLURM_ARRAY_TASK_ID:?submit this with sbatch --array}") ;;
*) run=(wandb agent --count 1 "$@") ;;
esac

# Slurm sends USR1 to this shell 300 seconds before the time limit; TERM comes when the job is cancelled.
requeue=no
"${run[@]}" &
child=$!
trap 'requeue=yes; kill -TERM "$child"' USR1
trap 'kill -TERM "$child"' TERM
while true; do # a signal ends `wait` before the child has ended
    wait "$child"
    code=$?
    kill -0 "$child" 2>/dev/null || break
done

if [[ $requeue == yes && ${run[0]} == python && $code -ne 0 ]]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
