"""The scripts of the study in SCARLET's shape, as modules."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "studies" / "scarlet_cifar"))
