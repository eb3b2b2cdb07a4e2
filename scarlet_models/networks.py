"""From what a user types to a network: a name that timm knows, a genotype, or a folder or repository that holds one."""

from __future__ import annotations

import difflib
import re
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_model_config_from_hf, parse_model_name, split_model_name_tag
from timm.models._hub import load_model_config_from_path
from torch import nn

from scarlet_models.errors import UserError, first_line
from scarlet_models.models import GENOTYPES
from scarlet_models.space.space import Genotype

_NOT_A_CONFIG = (AttributeError, KeyError, TypeError)  # what timm stumbles with over JSON that it did not write
# What timm says users' mistakes with.
MISTAKES = (OSError, RuntimeError, ValueError, AssertionError, SafetensorError, *_NOT_A_CONFIG)


def is_genotype(name: str) -> bool:
    """Whether a text is meant as a genotype, such as "2,4,1,8", rather than as a name."""
    return bool(re.fullmatch(r"[\s\d,+-]+", name))


def create(name: str, space: str = "scarlet", pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The timm model of a name (with or without a tag), `local-dir:FOLDER`, `hf-hub:ID`, or a genotype of a space.

    Raises:
        UserError: there is no such network, it does not load, or a genotype is asked for with weights.
    """
    try:
        if is_genotype(name):
            if pretrained:
                raise UserError("a genotype has no weights: name a network, or give local-dir:FOLDER of a trained one")
            return timm.create_model("scarlet_net", genotype=name, space=space, **kwargs)
        _check_name(name)
        return timm.create_model(name, pretrained=pretrained, **kwargs)
    except UserError:
        raise
    except MISTAKES as error:
        raise _mistake(name, error) from error


def create_on_meta(name: str, space: str = "scarlet", **kwargs: Any) -> nn.Module:
    """The same without weights or memory for them: for its shapes and cost."""
    with torch.device("meta"):
        return create(name, space, **kwargs)


def genotype_of(name: str, space: str = "scarlet") -> Genotype | None:
    """The genotype of what `create` takes; None where the network is not one of a space, scaled ones among them."""
    if is_genotype(name):
        return Genotype.parse(name, space)
    try:
        source, where = parse_model_name(name)
        if not source:
            released = GENOTYPES.get(split_model_name_tag(where)[0])
            return Genotype.parse(released) if released else None
        load = load_model_config_from_hf if source == "hf-hub" else load_model_config_from_path
        _, architecture, arguments = load(where)
        if architecture == "scarlet_net":
            return Genotype.parse(arguments["genotype"], arguments.get("space", "scarlet"))
        return Genotype.parse(GENOTYPES[architecture]) if architecture in GENOTYPES else None
    except MISTAKES as error:
        raise _mistake(name, error) from error


def image_size(model: nn.Module) -> int:
    """Side in pixels of the images that a timm model is made for."""
    cfg: Any = model.pretrained_cfg
    return int(cfg["input_size"][-1])


def file_stem(name: str) -> str:
    """A short name for files about a network."""
    if is_genotype(name):
        return "genotype_" + re.sub(r"\D+", "-", name.strip())
    return re.split(r"[/\\:]", name.rstrip("/\\"))[-1]


def _mistake(name: str, error: Exception) -> UserError:
    if name.startswith(("local-dir:", "hf-hub:")) and isinstance(error, _NOT_A_CONFIG):
        return UserError(f"{name}: its config.json describes no network ({type(error).__name__}: {first_line(error)})")
    return UserError(f"{name}: {first_line(error)}")


def _check_name(name: str) -> None:
    source, where = parse_model_name(name)
    if source:
        return
    architecture = split_model_name_tag(where)[0]
    if architecture == "scarlet_net":
        raise UserError("scarlet_net has no architecture of its own: give the genotype itself, such as 2,4,1,8,...")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, [*GENOTYPES, *timm.list_models()], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`scarlet-models list` shows what there is"
        raise UserError(f"no network {name!r}: {hint}")
