"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""

if __name__ != "scarlet_models.search":
    raise ModuleNotFoundError('use scarlet_models.search; a clone needs pip install -e ".[search]"', name=__name__)

from scarlet_models.search.scoring.population import PopulationEvaluator
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.search.supernet.training import train_supernet
from scarlet_models.space.space import Genotype, SearchSpace

__all__ = [
    "FairSampler",
    "Genotype",
    "PopulationEvaluator",
    "SearchSpace",
    "Supernet",
    "train_supernet",
]
