"""Search for a released network again, with its cost as the limit, or train it from its genotype.

The stages are those of run. The search may use as many MACs as the released network has. What it finds is trained by
the same recipe; its accuracy stands beside what the paper reports (arXiv 1908.06022). With --skip-search the released
network itself is built from its genotype and trained. How the authors searched and trained is not published in full:
the recipes are ours. What is not given on the command line is the recipe's.
"""

from dataclasses import dataclass, replace
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.options import JsonOptions, option
from scarlet_models.parsing import shell_line
from scarlet_models.search import cli
from scarlet_models.space.released import GENOTYPES, PAPER_TOP1
from scarlet_models.terminal import output, short

from . import run

EXAMPLE = """  scarlet-search reproduce scarlet_a --data-dir imagenet --plan
  scarlet-search reproduce scarlet_a --data-dir imagenet --processes 8
  scarlet-search reproduce scarlet_c --data-dir imagenet --skip-search
  scarlet-search reproduce scarlet_b --recipe imagenette --data-dir imagenette.tar"""


@dataclass(kw_only=True)
class Options(JsonOptions):
    """Options of reproduce; None stands for what the recipe says.

    Args:
        network: The released network: scarlet_a, scarlet_b or scarlet_c.
        recipe: Recipe of run, in the space scarlet: a name or a YAML file.
        skip_search: Train the released network itself, and search nothing.
        data_dir: Folder of class folders, tar, or place of the named data set.
        dataset: timm's name of a data set (torch/cifar10, hfds/ORG/NAME, ...); empty for a folder or tar.
        out: Folder of the search; by default runs/ and the network's name.
        seed: Seed of everything random but the held-out split.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads for torch; 0 keeps torch's own number.
        processes: Processes to start under torchrun for training and search.
        plan: Print the stages and how long they may take, and start none.
    """

    network: str = option(positional=True)
    recipe: str = "paper_imagenet"
    skip_search: bool = False
    data_dir: str | None = option(None, free=True)
    dataset: str | None = None
    out: str | None = option(None, free=True)
    seed: int | None = option(None, least=0, most=2**63 - 1)
    device: str | None = option(None, free=True)
    threads: int | None = option(None, least=0, free=True)
    processes: int | None = option(None, least=1)
    plan: bool = option(False, once=True)


def main(options: Options) -> None:
    released = _released(options.network)
    if result := run.carry_out(_as_run(options, released), shell_line("scarlet-search reproduce", options)):
        output({**result, "released": released}, options.json, _show)


def _show(result: dict[str, Any]) -> None:
    run.show(result)
    known = result["released"]
    print(f"\nreleased   {known['genotype']}")
    costs = f"{short(known['macs'])} MACs, {short(known['params'])} params"
    print(f"           {costs}; {known['paper_top1']}% in the paper")


def _as_run(options: Options, released: dict[str, Any]) -> run.Options:
    """Options of run: the recipe's, ours over them, and the released network's cost as the limit."""
    recipe: run.Options = cli.PROGRAM.build("run", cli.PROGRAM.resolve("run", {"config": options.recipe}))
    if options.skip_search:
        recipe = replace(recipe, genotype=released["genotype"], space="scarlet")
    elif recipe.space == "scarlet":
        recipe = replace(recipe, max_macs=released["macs"])
    else:
        raise UserError(
            f"--recipe {options.recipe} searches the space {recipe.space}, and {options.network} is of scarlet: "
            "give a recipe of that space, such as paper_imagenet or imagenette"
        )
    given = {key: v for key, v in vars(options).items() if hasattr(recipe, key) and v is not None and v is not False}
    return replace(recipe, **given | {"out": options.out or f"runs/{options.network}", "name": options.network})


def _released(network: str) -> dict[str, Any]:
    """Genotype, exact cost and published accuracy of a released network."""
    from scarlet_models.space.space import Genotype

    if network not in GENOTYPES:
        raise UserError(f"no released network {network!r}: there are {', '.join(GENOTYPES)}")
    genotype = Genotype.parse(GENOTYPES[network])
    cost = genotype.cost()
    return {"genotype": str(genotype), "macs": cost.macs, "params": cost.params, "paper_top1": PAPER_TOP1[network]}
