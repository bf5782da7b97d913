#!/usr/bin/env bash
# Train with several processes on one or more machines:
#   tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# GPUS is the number of processes on this machine; with --device cpu they run on the CPU.
# Several machines: the same command on each, with NNODES, NODE_RANK (0 .. NNODES - 1),
# MASTER_ADDR (the first machine's address) and PORT in the environment.
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=$1
gpus=$2
shift 2

PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python}" \
    -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/train.py" "$config" --launcher pytorch "$@"
