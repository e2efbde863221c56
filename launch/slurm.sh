#!/bin/bash
# Fine-tunes on a Slurm cluster: one torchrun per node, requeued after preemption or at the time limit, resumed automatically.
#
#     sbatch --nodes 2 launch/slurm.sh --stage recognition --run runs/recognition
#
# The arguments are those of launch/finetune.py; --run is required and must be on a disk that all nodes share. An example to adapt:
# partition, account, time limit and GPUs differ between clusters.
#SBATCH --job-name=emotion-llm
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180

run=""
for ((i = 1; i < $#; i++)); do
    [ "${!i}" = "--run" ] && { next=$((i + 1)); run="${!next}"; }
done
[ -n "$run" ] || { echo "error: name the run folder with --run" >&2; exit 2; }

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((10000 + SLURM_JOB_ID % 20000)) # two jobs on one node do not collide

srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" --rdzv_id "$SLURM_JOB_ID" \
    --rdzv_backend c10d --rdzv_endpoint "$head_node:$port" launch/finetune.py "$@" &
step=$!

stop() { kill -TERM "$step"; } # srun passes it to the launchers, they to the ranks, which save at the end of the current step
trap stop USR1 TERM
wait "$step"
status=$?
while kill -0 "$step" 2>/dev/null; do # a signal interrupts `wait`: wait on until the ranks have saved
    wait "$step"
    status=$?
done

if [ -f "$run/preempted.json" ]; then # written by a run that stopped on request and lost nothing
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
