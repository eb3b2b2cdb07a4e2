"""python -m scarlet_models.search SUBCOMMAND: what torchrun starts."""

import sys

from .cli import main

sys.exit(main())
