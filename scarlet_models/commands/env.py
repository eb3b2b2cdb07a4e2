"""Versions, machine, threads and store folder: what a bug report needs."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from scarlet_models.errors import UserError
from scarlet_models.options import option

EXAMPLE = """  scarlet-models env
  scarlet-models env --json"""

PACKAGES = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "numpy", "onnx", "onnxruntime", "pymoo")


@dataclass
class Options:
    """Options of env.

    Args:
        json: Print one JSON object.
    """

    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print what is known about this installation."""
    facts = environment()
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {'not installed' if value is None else value}")


def environment() -> dict[str, str | int | None]:
    """Facts about packages and machine; a package's version is None where it is not installed."""
    import torch

    from scarlet_models.version import __version__

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "scarlet-models": __version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "not in this torch",
        "gpus": ", ".join(gpus) or "none",
        "store": _store(),
    }


def _store() -> str:
    from scarlet_models.weights.store import store_dir

    try:
        return str(store_dir())
    except UserError as error:  # facts are asked for where something is wrong
        return str(error)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
