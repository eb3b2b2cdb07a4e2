"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""

from scarlet_models.space import Genotype, SearchSpace

from .supernet import Supernet

__all__ = [
    "Genotype",
    "SearchSpace",
    "Supernet",
]
