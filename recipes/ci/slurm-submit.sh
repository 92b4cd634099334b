#!/bin/bash
# Audit on a Slurm cluster:   slurm-submit.sh RECIPE SHARED [SHARDS]
# SHARED is a folder that every node sees: kept results (which hold rows) and the run lie there.
# The auditor's secret is read from your home, which nodes usually share; else export PROXYAUDIT_SECRET.
set -euo pipefail
export RECIPE="$1" SHARED="$2"
here=$(cd "$(dirname "$0")" && pwd)
array=$(sbatch --parsable --export=ALL --array="1-${3:-4}" "$here/slurm-shard.sh")
sbatch --export=ALL --dependency="afterany:${array%%;*}" "$here/slurm-collect.sh"
