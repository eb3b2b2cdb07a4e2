"""One self-contained page about a search."""
