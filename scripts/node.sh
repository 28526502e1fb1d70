#!/usr/bin/env bash
# A node's part of a training run under SLURM: torchrun and its training processes. srun starts it once on every node,
# from the job's first node, for scripts/train.sbatch and for submitit alike:
#
#     srun bash scripts/node.sh [ARGUMENTS OF train.py]
#
# PYTHON and PROCESSES_PER_NODE must be set.
set -euo pipefail

# After a signal the first process may have to write for longer than the 30 s that torchrun waits by itself;
# scripts/train.sbatch is told two minutes before its time is up.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}
exec "$PYTHON" -m torch.distributed.run --nnodes="$SLURM_NNODES" --node-rank="$SLURM_NODEID" \
  --nproc-per-node="$PROCESSES_PER_NODE" --master-addr="$SLURM_LAUNCH_NODE_IPADDR" \
  --master-port=$((20000 + SLURM_JOB_ID % 20000)) train.py "$@"
