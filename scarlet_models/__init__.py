"""SCARLET networks (arXiv 1908.06022) for timm and torch.hub. Importing this package registers them with timm."""

from scarlet_models.errors import UserError
from scarlet_models.models import scarlet_a, scarlet_a2, scarlet_a4, scarlet_b, scarlet_c, scarlet_net
from scarlet_models.space import Choice, Cost, Genotype, SearchSpace
from scarlet_models.version import __version__


__all__ = [
    "Choice",
    "Cost",
    "Genotype",
    "SearchSpace",
    "UserError",
    "__version__",
    "scarlet_a",
    "scarlet_a2",
    "scarlet_a4",
    "scarlet_b",
    "scarlet_c",
    "scarlet_net",
]
