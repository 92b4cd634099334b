#!/bin/bash
#SBATCH --job-name=proxyaudit-collect
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
# The last call: writes the run, and makes what dead shards left undone.
set -euo pipefail
exec proxyaudit run "$RECIPE" --cache "$SHARED/cache" --out "$SHARED/reports" --jobs "${SLURM_CPUS_PER_TASK:-1}"
