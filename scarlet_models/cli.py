"""scarlet-models: the table of its subcommands."""

from collections.abc import Sequence
from pathlib import Path

from scarlet_models.program import Program

PROGRAM = Program(
    "scarlet-models",
    "scarlet_models.commands.{}",
    {
        "list": "models and tags, their cost, and which weights are here",
        "info": "a network layer by layer: choices, exact params and MACs, feature taps",
        "classify": "the most probable classes of images: files, folders, or one on stdin",
        "train": "fine-tune or train any network of timm on a folder of images",
        "evaluate": "top-1 and top-5 of a network on held-out images or the test split",
        "convert": "turn a published checkpoint into safetensors",
        "weights": "the local store: list, dir, verify, install",
        "publish": "push a network to the Hugging Face Hub",
        "export": "write ONNX, torch.export and ExecuTorch files, int8 too, and check them",
        "benchmark": "latency and throughput next to timm's mobile networks",
        "plot": "draw an architecture as PNG or SVG",
        "detect": "train, evaluate and use object detectors: train, eval, predict",
        "env": "versions, machine, threads and store folder, for bug reports",
    },
    recipes=[Path(__file__).parent / "training" / "recipes"],
    recipes_of={"train": ["imagenet_mnasnet", "tiny_in", "tiny_in_distilled", "cifar10_cpu", "cifar10_finetune"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    return PROGRAM.run(argv)
