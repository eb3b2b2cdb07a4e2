"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "scarlet_models.search":
    raise ModuleNotFoundError("import scarlet_models.search: this folder is a part of scarlet_models", name=__name__)

if TYPE_CHECKING:
    from scarlet_models.search.evolution.front import evolve
    from scarlet_models.search.scoring.population import PopulationEvaluator
    from scarlet_models.search.scoring.rank import rank
    from scarlet_models.search.supernet.sampler import FairSampler
    from scarlet_models.search.supernet.supernet import Supernet
    from scarlet_models.search.supernet.training import train_supernet
    from scarlet_models.space import Genotype, SearchSpace

_HOMES = {
    "FairSampler": "scarlet_models.search.supernet.sampler",
    "Genotype": "scarlet_models.space",
    "PopulationEvaluator": "scarlet_models.search.scoring.population",
    "SearchSpace": "scarlet_models.space",
    "Supernet": "scarlet_models.search.supernet.supernet",
    "evolve": "scarlet_models.search.evolution.front",
    "rank": "scarlet_models.search.scoring.rank",
    "train_supernet": "scarlet_models.search.supernet.training",
}

__all__ = [
    "FairSampler",
    "Genotype",
    "PopulationEvaluator",
    "SearchSpace",
    "Supernet",
    "evolve",
    "rank",
    "train_supernet",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the commands' help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
