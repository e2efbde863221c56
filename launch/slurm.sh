#!/bin/bash
# Fine-tunes under Slurm on any number of nodes: one DeepSpeed launcher per node, checkpoint and requeue on preemption or at the time limit.
#
#     sbatch --nodes 2 --gpus-per-node 8 launch/slurm.sh --stage recognition
#     sbatch launch/slurm.sh --stage recognition --preset demo         # CPU: two processes on one node
#
# All arguments go to launch/finetune.py. Submit from the repository root, with the Python environment active; repository, data and run
# folder must be on a disk that all nodes share. A requeued job resumes from its newest checkpoint.
#SBATCH --job-name=emotion_llm
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
#SBATCH --signal=USR1@300
set -u

if [ -z "${EMOTION_LLM_NODE:-}" ]; then  # the batch shell, on the first node
    export EMOTION_LLM_NODE=yes
    export EMOTION_LLM_HOSTFILE="slurm-$SLURM_JOB_ID.hosts"
    export EMOTION_LLM_MASTER; EMOTION_LLM_MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    export EMOTION_LLM_PORT=$((10000 + SLURM_JOB_ID % 20000))  # jobs that share a node do not share a port
    scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/$/ slots=${SLURM_GPUS_ON_NODE:-2}/" > "$EMOTION_LLM_HOSTFILE"
    run=$(python launch/finetune.py "$@" --dry-run | python -c 'import json, sys; print(json.load(sys.stdin)["run"])') || exit 2
    trap '' USR1 TERM  # the job steps save; this shell stays to requeue
    script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
    srun --kill-on-bad-exit=1 bash "$script" "$@"
    status=$?
    rm -f "$EMOTION_LLM_HOSTFILE"
    if [ -f "$run/preempted.json" ]; then
        echo "stopped on request; requeued, to resume from the newest checkpoint of $run"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit $status
fi

# One per node. The launcher runs in a session of its own, so that Slurm's signals reach the ranks through this shell alone:
# DeepSpeed's launcher would die of USR1 at once and leave its ranks behind.
setsid deepspeed --hostfile "$EMOTION_LLM_HOSTFILE" --no_ssh --node_rank "$SLURM_NODEID" \
    --master_addr "$EMOTION_LLM_MASTER" --master_port "$EMOTION_LLM_PORT" launch/finetune.py "$@" &
launcher=$!
trap 'pkill -USR1 --session "$launcher" -f -- --local_rank' USR1 TERM
while true; do  # a trapped signal ends `wait` early
    wait "$launcher"
    status=$?
    kill -0 "$launcher" 2>/dev/null || exit "$status"
done
