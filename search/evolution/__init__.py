"""The evolutionary search: objectives, limits, candidates, variation, NSGA-II, surrogate, archive, hypervolume."""
