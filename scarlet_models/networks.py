"""Building a network from what a user types: a name that timm knows, a genotype, a folder or a Hub repository."""

import difflib
import re
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import parse_model_name, split_model_name_tag
from torch import nn

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.models import GENOTYPES, MULTIPLIERS
from scarlet_models.space.space import Genotype
from scarlet_models.weights.source import check_weights, locate, not_finite, read_config

# What timm raises for users' mistakes; the last three for a config.json that asks for something unknown.
MISTAKES = (OSError, RuntimeError, ValueError, AssertionError, SafetensorError, AttributeError, KeyError, TypeError)


def is_genotype(name: str) -> bool:
    """Whether a text is a genotype, such as "2,4,1,8", rather than a name."""
    return bool(re.fullmatch(r"[\s\d,+-]+", name))


def create(name: str, space: str = "scarlet", pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a timm model, with `kwargs` for timm; with `pretrained`, no weight of it is random or NaN.

    Args:
        name: A name with or without a tag, a folder (`local-dir:` may stand before it), `hf-hub:ID`, or a genotype.
        space: Search space of a genotype: a name or a YAML file.
        pretrained: Load weights.
    """
    with as_user_error(name, *MISTAKES):
        if is_genotype(name):
            if pretrained:
                raise UserError("a genotype has no weights: name a network, or give local-dir:FOLDER of a trained one")
            return timm.create_model("scarlet_net", genotype=name, space=space, **kwargs)
        name = locate(name)
        _check(name, pretrained, kwargs.get("cache_dir"))
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **kwargs)
    if pretrained and (problem := not_finite(model.state_dict())):
        raise UserError(f"{name}: its weights are damaged: {problem}")
    return model


def create_on_meta(name: str, space: str = "scarlet", **kwargs: Any) -> nn.Module:
    """Build the same model without memory for weights: for its shapes and cost."""
    with torch.device("meta"):
        return create(name, space, **kwargs)


def genotype_of(name: str, space: str = "scarlet") -> Genotype | None:
    """The genotype of what `create` takes; None for networks of other families and for scaled ones."""
    if is_genotype(name):
        return Genotype.parse(name, space)
    with as_user_error(name, *MISTAKES):
        architecture, arguments = recipe_of(name)
        if architecture == "scarlet_net":
            return Genotype.parse(arguments.get("genotype", GENOTYPES["scarlet_a"]), arguments.get("space", "scarlet"))
        scaled = not arguments.keys().isdisjoint(MULTIPLIERS)
        return Genotype.parse(GENOTYPES[architecture]) if architecture in GENOTYPES and not scaled else None


def recipe_of(name: str) -> tuple[str, dict[str, Any]]:
    """timm's architecture of a name, folder or Hub repository, and the arguments that it is built with."""
    source, where = parse_model_name(locate(name))
    if not source:
        return split_model_name_tag(where)[0], {}
    config = read_config(source, where)
    return config["architecture"], config.get("model_args") or {}


def image_size(model: nn.Module) -> int:
    """Side in pixels of the images that a timm model expects."""
    cfg: Any = model.pretrained_cfg
    return int(cfg["input_size"][-1])


def file_stem(name: str) -> str:
    """A short name for files about a network, made from what `create` takes."""
    if is_genotype(name):
        return "genotype_" + re.sub(r"\D+", "-", name.strip())
    return re.split(r"[/\\:]", name.rstrip("/\\"))[-1]


def _check(name: str, pretrained: bool, cache_dir: Any) -> None:
    """Refuse an unknown name, and a folder or repository that cannot be built or, if asked for, has no weights."""
    source, where = parse_model_name(name)
    if source:
        read_config(source, where, cache_dir)
        if pretrained:
            check_weights(source, where, cache_dir)
        return
    architecture = split_model_name_tag(where)[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, [*GENOTYPES, *timm.list_models()], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`scarlet-models list` shows what there is"
        raise UserError(f"no network {name!r}: {hint}")
