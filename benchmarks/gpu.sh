#!/usr/bin/env bash
# All GPU tables: tests, accuracy of the backends, the convolution alone, and both models, eager and compiled; needs an
# NVIDIA GPU. Results go to benchmarks/results/gpu/ and parity/results/gpu/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

run() { # PACKAGE/NAME MODULE [ARGUMENT...]
  local table=${1%/*}/results/gpu/${1#*/}.md
  shift
  echo "$table"
  mkdir -p "$(dirname "$table")"
  "$python" -m "$@" >"$table"
}

"$python" -m pytest -m gpu
run parity/backend_accuracy parity.backend_accuracy --device cuda
run benchmarks/convolution_128 benchmarks.convolution --device cuda --batch 128
run benchmarks/convolution_256 benchmarks.convolution --device cuda --batch 256
run benchmarks/models benchmarks.models --device cuda --batch 128 256
run benchmarks/models_compiled benchmarks.models --device cuda --batch 128 256 --compile --reference-rounds 0
