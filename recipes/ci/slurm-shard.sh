#!/bin/bash
#SBATCH --job-name=proxyaudit
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
# One shard of an array: see slurm-submit.sh. RECIPE and SHARED are set there.
set -euo pipefail
number=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
exec proxyaudit run "$RECIPE" --cache "$SHARED/cache" --out "$SHARED/reports" \
  --jobs "${SLURM_CPUS_PER_TASK:-1}" --shard "$number/$SLURM_ARRAY_TASK_COUNT"
