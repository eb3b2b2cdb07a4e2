#!/usr/bin/env bash
# Train, evaluate and use a detector: bash examples/detection.sh bccd_images.tar bccd_coco.json runs/cells
# More options go on to the training, such as --epochs 1.
set -euo pipefail
images=$1 annotations=$2 out=$3
shift 3
scarlet-models detect train --config bccd_cpu --images "$images" --annotations "$annotations" --out "$out" "$@"
scarlet-models detect eval "$out/exported/$(basename "$out")" --images "$images" --annotations "$annotations" --split test
mkdir -p "$out/photos" && tar -xf "$images" -C "$out/photos"
scarlet-models detect predict "$(find "$out/photos" -name '*.jpg' | sort | head -n 1)" --model "$out/exported/$(basename "$out")" --out "$out/found"
