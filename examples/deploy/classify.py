"""Classify images with a file of `scarlet-models export`: .onnx by onnxruntime, .pte by the ExecuTorch runtime.

    python classify.py scarlet_b.tiny_in-int8.onnx cat.jpg
    python classify.py scarlet_b.tiny_in-int8.pte cat.jpg          # after: sh build_runner.sh

Needs numpy, Pillow and one of the runtimes; PyTorch is never imported. Labels, size and normalisation are in the file.
"""

import ctypes
import json
import pathlib
import sys

import numpy as np
from PIL import Image


def open_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map["about"])
    return about, lambda pixels: session.run(None, {"pixels": pixels})[0][0]


def open_pte(path):
    library = ctypes.CDLL(str(pathlib.Path(__file__).with_name("librunner.so")))
    library.open_program.restype = library.about.restype = ctypes.c_char_p
    if error := library.open_program(path.encode()):
        sys.exit(f"{path}: {error.decode()}")
    about = json.loads(library.about())

    def run(pixels):
        logits = np.empty(len(about["labels"]), np.float32)
        count = library.run(
            *(a.ctypes.data_as(ctypes.c_void_p) for a in (pixels, logits)), pixels.shape[2], len(logits)
        )
        return logits if count == len(logits) else sys.exit(f"{path}: the program failed")

    return about, run


about, run = (open_pte if sys.argv[1].endswith(".pte") else open_onnx)(sys.argv[1])
side = about["input_size"][-1]
larger = int(side / about["crop_pct"])  # resize the shorter side, then crop the centre
for name in sys.argv[2:]:
    image = Image.open(name).convert("RGB")
    scale = larger / min(image.size)
    image = image.resize([max(larger, int(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
    left, top = ((length - side) / 2 for length in image.size)
    image = image.crop((round(left), round(top), round(left) + side, round(top) + side))
    pixels = (np.asarray(image, np.float32) / 255 - about["mean"]) / about["std"]
    logits = run(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(name, "  ".join(f"{about['labels'][i]} {shares[i]:.1%}" for i in np.argsort(-shares)[:3]))
