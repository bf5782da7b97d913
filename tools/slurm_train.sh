#!/usr/bin/env bash
# Train through Slurm:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
# In the environment: GPUS (processes in all, 8), GPUS_PER_NODE (8), CPUS_PER_TASK (5),
# SRUN_ARGS (further arguments of srun).
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
partition=$1
job_name=$2
config=$3
work_dir=$4
shift 4
read -ra srun_args <<< "${SRUN_ARGS:-}"

PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    --gres="gpu:${GPUS_PER_NODE:-8}" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} \
    "${PYTHON:-python}" -u "$here/train.py" "$config" --work-dir "$work_dir" \
    --launcher slurm "$@"
