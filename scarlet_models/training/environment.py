"""What this machine and installation are: the one description that bug reports, runs and latency tables share."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from scarlet_models.errors import UserError
from scarlet_models.version import __version__
from scarlet_models.weights.store import store_dir

from .distributed import World

_PACKAGES = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "numpy", "onnx", "onnxruntime", "pymoo")
_DECISIVE = ("torch", "torchvision", "timm", "numpy", "pillow", "scarlet-models")  # other versions, other results
FREE_ENVIRONMENT = {"git_commit", "host", "workers"}  # of `describe_environment`: may differ when a run resumes


def describe_machine() -> dict[str, str | int | None]:
    """Packages, machine and store folder; a package's version is None if it is not installed."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "scarlet-models": __version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "not in this torch",
        "gpus": ", ".join(gpus) or "none",
        "store": _store(),
    }


def describe_environment(workers: int, world: World) -> dict[str, Any]:
    """Everything besides the options that can change a result bit for bit, and where the run ran."""
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else world.device.type
    return {
        **{name: _version(name) or "not installed" for name in _DECISIVE},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "workers": workers,
        "world_size": world.size,
        "device": device,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "git_commit": _git_commit(),
        "host": platform.node(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The CPU's name, where the system tells it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _store() -> str:
    try:
        return str(store_dir())
    except UserError as error:  # facts are asked for where something is wrong
        return str(error)


def _git_commit() -> str:
    """Empty outside of a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--verify", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
