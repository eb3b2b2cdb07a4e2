"""Where the console scripts start: while this module is loaded, `import scarlet_models` leaves torch alone.

Commands import torch and register the networks with timm when they run. --help and mistakes are answered at once.
"""


def scarlet_models() -> int:
    """Run scarlet-models and return its exit status."""
    from scarlet_models.cli import main

    return main()


def scarlet_search() -> int:
    """Run scarlet-search and return its exit status."""
    from scarlet_models.search.cli import main

    return main()
