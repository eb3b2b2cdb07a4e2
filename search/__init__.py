"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""

if __name__ != "scarlet_models.search":
    raise ModuleNotFoundError('use scarlet_models.search; a clone needs pip install -e ".[search]"', name=__name__)

from scarlet_models.space import Genotype, SearchSpace

from .population import PopulationEvaluator
from .sampler import FairSampler
from .supernet import Supernet

__all__ = [
    "FairSampler",
    "Genotype",
    "PopulationEvaluator",
    "SearchSpace",
    "Supernet",
]
