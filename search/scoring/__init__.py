"""Scores of paths: population evaluation, score cache, ranking, similarity, known accuracies."""
