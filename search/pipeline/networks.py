"""Which networks a search trains, and networks.json, which says what they are for and what was known of them before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_models.documents import read_csv, read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_json, write_text
from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.rivals import LABELS, pool_of
from scarlet_models.search.scoring.options import FEWEST_ANCHORS
from scarlet_models.space.space import Genotype

NAME = "networks.json"

PICKED = "picked"  # the role of the network that is exported; the others stand beside it
STAGES = {PICKED: "retrain", "random": "retrain_random", "largest": "retrain_largest"}  # of training, by role
_STARTS = 32


def scored_networks(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fronts of a search and of its random search: records with "found_by" beside their figures, each once."""
    records: dict[str, dict[str, Any]] = {}
    for name, side in (("evolution", search), ("random", search.get("random"))):
        for record in side["front"] if side else ():
            records.setdefault(record["genotype"], {**record, "found_by": LABELS[name]})
    return list(records.values())


def pick(front: Sequence[Mapping[str, Any]], rule: str) -> Mapping[str, Any]:
    """The network of a front to train, of records with genotype, accuracy and macs.

    By the rule "accuracy" the most accurate, with fewest MACs among equals; by "knee" the farthest above the line from
    the cheapest to the most accurate, after both axes are scaled to their range.
    """
    best = max(front, key=lambda record: (record["accuracy"], -record["macs"]))
    if rule == "accuracy":
        return best
    cheapest = min(front, key=lambda record: (record["macs"], -record["accuracy"]))
    macs, accuracy = (np.array([record[key] for record in front], float) for key in ("macs", "accuracy"))
    width, height = (float(best[key] - cheapest[key]) or 1.0 for key in ("macs", "accuracy"))
    above = (accuracy - cheapest["accuracy"]) / height - (macs - cheapest["macs"]) / width
    return front[int(above.argmax())]


def random_network(candidates: Candidates, seed: int, other: Genotype) -> Genotype:
    """A network that meets the limits, drawn uniformly among the genotypes; not the other one if there is a choice."""
    taken = np.array([other.canonical().choices])
    drawn = candidates.draw(np.random.default_rng([seed, 2]), 1, taken)
    return candidates.space.validate((drawn if len(drawn) else taken)[0])


def largest_network(candidates: Candidates) -> Genotype:
    """The network of most MACs that meets the limits: exact in an enumerated space, else found by climbing.

    Each climb starts at a random network, and changes the layer that adds most MACs within the limits until none does.
    """
    ends = candidates.networks
    if ends is None:
        starts = candidates.draw(np.random.default_rng(0), _STARTS)
        ends = np.concatenate([_climb(candidates, start[None]) for start in starts])
    macs = candidates.costs.of(ends)["macs"]
    return candidates.space.validate(ends[macs.argmax()]).canonical()


def _climb(candidates: Candidates, genotype: np.ndarray) -> np.ndarray:
    """The end of a climb from a genotype (1, layers)."""
    macs = candidates.costs.of(genotype)["macs"][0]
    while True:
        changed = candidates.neighbours(genotype)
        found = np.where(candidates.excess(changed) == 0, candidates.costs.of(changed)["macs"], 0)
        if found.max() <= macs:
            return genotype
        genotype, macs = changed[[found.argmax()]], found.max()


def spread_networks(candidates: Candidates, count: int, seed: int) -> list[Genotype]:
    """Anchors within the limits, spread over depth and MACs; fewer if there are not so many, or a UserError if too few.

    The first is in the middle, and each other one the farthest from those before it, both axes scaled to their spread.
    """
    rng = np.random.default_rng([seed, 4])
    pool = pool_of(candidates, rng)
    if len(pool) < count:  # a narrow band of params or latency may hold none of a sample by MACs
        pool = np.concatenate([pool, candidates.draw(rng, count - len(pool), pool)])
    if len(pool) < FEWEST_ANCHORS:
        raise UserError(f"--anchors {count}: the limits leave {len(pool)}, too few for a regression: widen them")
    pool = np.random.default_rng([seed, 3]).permutation(pool)
    places = np.stack([(pool != candidates.space.identity).sum(1), candidates.costs.of(pool)["macs"]], 1).astype(float)
    places = (places - places.mean(0)) / np.maximum(places.std(0), 1e-9)
    chosen, distance = [int((places**2).sum(1).argmin())], np.full(len(pool), np.inf)
    while len(chosen) < min(count, len(pool)):
        distance = np.minimum(distance, ((places - places[chosen[-1]]) ** 2).sum(1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return [candidates.space.validate(pool[row]) for row in chosen]


def measured(trained: Path) -> dict[str, float]:
    """Top-1 in percent of a trained network, where known: of test images, and of held-out ones after the last epoch.

    On held-out images it is that of the weights or of their moving average, the better one.
    """
    metrics, final = trained / "metrics.csv", trained / "final.json"
    last = read_csv(metrics, ())[1][-1:] if metrics.exists() else []
    held_out = [float(value) for row in last for key, value in row.items() if key.endswith("holdout_top1") and value]
    figures = {"holdout_top1": max(held_out)} if held_out else {}
    return figures | ({"test_top1": read_json(final, dict)["top1"]} if final.exists() else {})


def write_anchors(path: Path, trained: Mapping[str, Path]) -> None:
    """Write the held-out accuracy of networks as evolve takes it, from the folders of their training by genotype."""
    rows = [f'"{genotype}",{measured(folder)["holdout_top1"]}' for genotype, folder in trained.items()]
    write_text(path, "\n".join(["genotype,accuracy", *rows, ""]))


def write_networks(folder: Path, rule: str, networks: Sequence[Mapping[str, Any]]) -> None:
    """Write networks.json unless it says the same: each has a role, the stage that trains it, and its genotype."""
    content = {"rule": rule, "networks": [dict(network) for network in networks]}
    path = folder / NAME
    if not path.exists() or read_json(path) != content:
        write_json(path, content)
