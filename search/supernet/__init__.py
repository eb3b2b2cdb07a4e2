"""The supernet: stabilizer, folding, fair sampling, the fair step, its training, and those that ship."""
