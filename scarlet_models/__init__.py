"""SCARLET networks (arXiv 1908.06022) for timm and torch.hub. Importing this package registers them with timm."""

import sys
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.version import __version__

# In a clone the search lies beside this package; an installed one has it inside.
_clone = Path(__file__).parents[1]
if (_clone / "search" / "cli.py").is_file() and (_clone / "pyproject.toml").is_file():
    __path__.append(str(_clone))

# The console scripts start in scarlet_cli. Their commands import what they need, and with it the models, when they run:
# help and mistakes in options need not wait for torch.
if "scarlet_cli" not in sys.modules:
    from scarlet_models.from_timm import space_of
    from scarlet_models.models import scarlet_a, scarlet_a2, scarlet_a4, scarlet_b, scarlet_c, scarlet_net
    from scarlet_models.space import Choice, Cost, Genotype, SearchSpace

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
    "space_of",
]
