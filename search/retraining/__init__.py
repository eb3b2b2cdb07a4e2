"""What becomes of a genotype that was found: an exported network."""
