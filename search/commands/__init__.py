"""The subcommands of scarlet-search, one a file."""
