"""The supernet, its training and the evolutionary search of SCARLET-NAS (arXiv 1908.06022)."""
