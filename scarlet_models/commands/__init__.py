"""The subcommands of scarlet-models, one a module."""
