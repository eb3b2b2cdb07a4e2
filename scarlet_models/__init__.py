"""SCARLET networks (arXiv 1908.06022) for timm and torch.hub. Importing this package registers them with timm."""

import sys
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.space import Choice, Cost, Genotype, SearchSpace
from scarlet_models.version import __version__

# The commands register the models themselves, once they have read their options: help need not wait seconds for torch.
if Path("".join(sys.argv[:1])).stem not in ("scarlet-models", "scarlet-search"):
    from scarlet_models.models import scarlet_a, scarlet_a2, scarlet_a4, scarlet_b, scarlet_c, scarlet_net


class SearchNotInstalled(ModuleNotFoundError, UserError):
    """Says how to install the search."""


class _LastFinder:
    """Asked for a module when no other finder knows it: for the search, in a clone that is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "scarlet_models.search":
            clone = Path(__file__).parents[1]
            raise SearchNotInstalled(f'the search is not installed: pip install -e ".[search]" in {clone}', name=name)


sys.meta_path.append(_LastFinder())

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
