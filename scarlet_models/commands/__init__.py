"""The subcommands of scarlet-models, one a file: options, help and printing. What they do lies in the other folders."""
