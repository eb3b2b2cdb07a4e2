"""scarlet-search: the table of its subcommands."""

from collections.abc import Sequence
from pathlib import Path

from scarlet_models import training
from scarlet_models.program import Program
from scarlet_models.terminal import log_to_stderr

PROGRAM = Program(
    "scarlet-search",
    "scarlet_models.search.commands.{}",
    {
        "space": "layers, choices, size and costs of a search space, and whether limits can be met",
        "train": "train a supernet: strictly fair steps of paths, with stabilizers",
        "rank": "how well a supernet ranks networks of known accuracy",
        "similarity": "how alike the outputs of a layer's choices are: the paper's Figure 1",
        "latency": "time each block of a space on this device, and check that sums predict networks",
        "evolve": "search networks with a supernet's scores: NSGA-II beside random search",
        "ablate": "train supernets with and without stabilizers over seeds, and measure them",
        "retrain": "train one network from its genotype, and export it",
        "report": "one self-contained page about a search: curves, fronts, networks, options",
        "export": "write a network as a folder for timm: genotype and supernet, retrained folder, or name",
        "run": "the whole search on your own images: train, evolve, pick, retrain, export, report",
        "reproduce": "find a released network anew, or train it from its genotype",
        "quickstart": "the whole search in minutes on handwritten digits, each step explained",
    },
    recipes=[Path(__file__).parent / "recipes", Path(training.__file__).parent / "recipes"],
    recipes_of={
        "run": ["digits", "imagenette", "search_cifar10_cpu", "paper_imagenet"],
        "train": ["supernet_imagenet", "supernet_imagenette", "supernet_nas_bench_macro"],
        "retrain": ["imagenet_mnasnet", "tiny_in", "tiny_in_distilled", "cifar10_cpu", "cifar10_finetune"],
    },
    extra="search",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    log_to_stderr()
    return PROGRAM.run(argv)
