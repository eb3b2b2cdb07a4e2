"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "scarlet_models.search":
    raise ModuleNotFoundError("import scarlet_models.search: this folder is a part of scarlet_models", name=__name__)

if TYPE_CHECKING:
    from scarlet_models.search.evolution.search import Front as Front
    from scarlet_models.search.evolution.search import evolve as evolve
    from scarlet_models.search.scoring.population import PopulationEvaluator as PopulationEvaluator
    from scarlet_models.search.scoring.rank import Ranking as Ranking
    from scarlet_models.search.scoring.rank import rank as rank
    from scarlet_models.search.supernet.sampler import FairSampler as FairSampler
    from scarlet_models.search.supernet.supernet import Supernet as Supernet
    from scarlet_models.search.supernet.training import train_supernet as train_supernet
    from scarlet_models.space import Genotype as Genotype
    from scarlet_models.space import SearchSpace as SearchSpace

_HOMES = {
    "FairSampler": "search.supernet.sampler",
    "Front": "search.evolution.search",
    "Genotype": "space",
    "PopulationEvaluator": "search.scoring.population",
    "Ranking": "search.scoring.rank",
    "SearchSpace": "space",
    "Supernet": "search.supernet.supernet",
    "evolve": "search.evolution.search",
    "rank": "search.scoring.rank",
    "train_supernet": "search.supernet.training",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the commands' help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"scarlet_models.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
