"""Architecture as data: choices, spaces, genotypes, exact costs, sampling."""

from .blocks import Choice
from .cost import Cost
from .space import Genotype, SearchSpace

__all__ = ["Choice", "Cost", "Genotype", "SearchSpace"]
