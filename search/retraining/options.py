"""Options of retraining a network that a search has found. Imports no torch."""

from dataclasses import dataclass

from scarlet_models.options import option
from scarlet_models.training.options import ClassifierOptions, DataOptions


@dataclass
class RetrainOptions(ClassifierOptions, DataOptions):  # fields: last base first
    """What is trained, and what it starts from.

    Args:
        genotype: Choice indices of the network, comma-separated.
        space: Search space of the genotype: a name or a YAML file.
        inherit: Start from another trained network of the space, layer by layer, instead of from random weights: an
            exported folder, or the name of a network that has weights.
        name: Name of the exported folder; empty for the name of --out.
        final: Afterwards score the exported network on the test split, once, and write final.json. A run that begins
            with it keeps it in config.yaml: leave it out of what starts from that file with --no-final.
    """

    out: str = option("runs/retrain", free=True)
    genotype: str = ""
    space: str = "scarlet"
    inherit: str = ""
    name: str = option("", free=True)
    final: bool = option(False, free=True)
