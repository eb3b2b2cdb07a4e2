#!/usr/bin/env bash
# Train a supernet under torchrun with two processes on a CPU: bash examples/two_processes.sh my_images runs/two
set -euo pipefail
torchrun --nproc-per-node 2 -m scarlet_models.search train --space mini --data-dir "$1" --image-size 32 \
  --batch-size 32 --steps 4 --workers 0 --threads 1 --out "$2"
