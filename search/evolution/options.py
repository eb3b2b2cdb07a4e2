"""Options of the evolutionary search, and the limits that several commands share. Imports no torch."""

from dataclasses import dataclass

from scarlet_models.options import Ranged, option
from scarlet_models.search.scoring.options import ScoreOptions


@dataclass
class CostLimits(Ranged):
    """Limits on what can be counted without measuring; MACs and parameters.

    Args:
        min_macs: Fewest MACs of a network, such as 200M.
        max_macs: Most MACs of a network, such as 300M.
        min_params: Fewest parameters of a network.
        max_params: Most parameters of a network.
    """

    min_macs: int | str | None = None
    max_macs: int | str | None = None
    min_params: int | str | None = None
    max_params: int | str | None = None


@dataclass
class Limits(CostLimits):
    """All limits on the networks that a search may return.

    Args:
        min_latency: Shortest latency by the latency table.
        max_latency: Longest latency by the latency table, such as 15ms.
        min_accuracy: Lowest accuracy in percent. A network below it breeds only until there are better ones.
    """

    min_latency: float | str | None = None
    max_latency: float | str | None = None
    min_accuracy: float | None = option(None, least=0, most=100)


@dataclass(kw_only=True)
class EvolveOptions(ScoreOptions, Limits):
    """What to search for, and how.

    Args:
        supernet: Folder of a training run, its supernet.safetensors, or the name of a supernet that ships.
        out: Folder of the search. Scores of an earlier search in it are used again.
        resume: Continue a search that was interrupted. Its options must not change, except `--generations`.
        allow_drift: Resume although options or the environment changed.
        seed: Seed of everything random.
        population: Networks of a generation.
        generations: Number of generations, including the first, random one.
        objectives: Each a name (accuracy, macs, params, latency), min or max, and its weight in the crowding distance.
        latency_table: table.json of scarlet-search latency, or its folder.
        input_size: Side in pixels of the images that MACs are counted for; 0 for the space's own.
        num_classes: Outputs of the classifier that costs include; 0 for the space's own.
        seeds: Genotypes to start from besides random ones; A, B and C are the released networks.
        surrogate: Networks that a regressor on the scores so far screens for each generation; 0 for no regressor.
        random: Also score as many random networks within the same limits, and as many stratified by MACs.
        known: File of known accuracies to evaluate the front with; without a supernet, to search.
        anchors: File of a few known accuracies to correct the supernet's scores with, if cross-validation says so.
        space: Search space, if there is no supernet.
    """

    supernet: str = option("", positional=True)
    out: str = option("runs/evolve", free=True)
    resume: bool = option(False, once=True)
    allow_drift: bool = option(False, once=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    population: int = option(70, least=2)
    generations: int = option(20, least=1, free=True)
    objectives: list[str] = option(["accuracy max 0.4", "macs min 0.4", "params max 0.2"])
    latency_table: str = ""
    input_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    seeds: list[str] = option([])
    surrogate: int = option(0, least=0)
    random: bool = True
    known: str = ""
    anchors: str = ""
    space: str = ""
