#!/usr/bin/env bash
# One command for a machine with a GPU: is all of it right there, how fast is it, what Dice does it reach?
#
#   benchmarks/gpu.sh --pack --data data/ACDC   where there is a network: wheels, data and phantoms into runs/gpu_kit
#   benchmarks/gpu.sh                           on the machine with the GPU, where torch is all that is needed
#   benchmarks/gpu.sh --smoke                   the same on a CPU, small, within a minute
#
# --help of either shows the settings. The table and the CSV files lie in runs/gpu then (--out).
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${PYTHON:-}" ] || { [ -x .venv/bin/python ] && PYTHON=.venv/bin/python || PYTHON=python3; }
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}" PYTHONUNBUFFERED=1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
if [ "${1:-}" = --pack ]; then
    shift
    exec "$PYTHON" benchmarks/gpu/pack.py "$@"
fi
kit=runs/gpu_kit words=("$@")
for ((i = 0; i < ${#words[@]}; i++)); do
    case "${words[i]}" in
        --kit) kit="${words[i + 1]:?--kit needs a folder}" ;;
        --kit=*) kit="${words[i]#--kit=}" ;;
    esac
done
if ! "$PYTHON" -c 'import monai, ignite, nibabel, fire' 2>/dev/null && compgen -G "$kit/wheels/*.whl" >/dev/null; then
    site="$(mktemp -d)"
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$kit"/wheels/*.whl
    export PYTHONPATH="$PYTHONPATH:$site"
fi
"$PYTHON" benchmarks/gpu/run.py "$@"
