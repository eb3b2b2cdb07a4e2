"""Architecture as data: choices, spaces, genotypes, exact costs, sampling."""

from .cost import Cost
from .space import Choice, Genotype, SearchSpace

__all__ = ["Choice", "Cost", "Genotype", "SearchSpace"]
