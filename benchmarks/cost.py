"""How many genotypes a second get their exact MACs and params from a space's tables.

python benchmarks/cost.py --space scarlet
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from scarlet_models.space.space import SearchSpace


def main() -> None:
    """Prints median, worst and best of several rounds over the same random genotypes, by CPU seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="scarlet")
    parser.add_argument("--genotypes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    space = SearchSpace.load(args.space)
    genotypes = space.sample_array(np.random.default_rng(0), args.genotypes)
    for dtype in (np.int64, np.int8):
        rows, rates = genotypes.astype(dtype), []
        space.costs(rows)  # warm up
        for _ in range(args.rounds):
            start = time.process_time()
            space.costs(rows)
            rates.append(len(rows) / (time.process_time() - start))
        median, worst, best = statistics.median(rates), min(rates), max(rates)
        print(f"{space.name}, {rows.dtype}: {median:,.0f} genotypes/s (from {worst:,.0f} to {best:,.0f})")


if __name__ == "__main__":
    main()
