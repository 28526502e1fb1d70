#!/usr/bin/env bash
# The whole GPU table: tests, accuracy, the convolution alone, and both models, eager and compiled; needs an NVIDIA GPU.
# Results go to benchmarks/results/gpu/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
results=benchmarks/results/gpu
mkdir -p "$results"

run() { # NAME MODULE [ARGUMENT...]
  local name=$1
  shift
  echo "$name"
  "$python" -m "$@" >"$results/$name.md"
}

"$python" -m pytest -m gpu
run accuracy benchmarks.accuracy --device cuda
run convolution_128 benchmarks.convolution --device cuda --batch 128
run convolution_256 benchmarks.convolution --device cuda --batch 256
run models benchmarks.models --device cuda --batch 128 256
run networks_compiled benchmarks.models --device cuda --batch 128 256 --compile --reference-rounds 0
