"""SCARLET networks (arXiv 1908.06022) as timm models: timm's `EfficientNet` or `MobileNetV3`, by block strings."""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from timm.layers import get_act_layer
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._builder import pretrained_cfg_for_features
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, resolve_bn_args, round_channels
from timm.models.efficientnet import EfficientNet, EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3, MobileNetV3Features
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.space.released import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.weights import resolve as weights
from scarlet_models.weights.shipped import CFG, PUBLISHED, PUBLISHED_URL, TAG
from scarlet_models.weights.store import registered_file

__all__ = ["GENOTYPES", "ScarletFeatures", "ScarletNet"]

OUTPUT_STRIDES = (8, 16, 32)
MULTIPLIERS, MAX_MULTIPLIER = ("channel_multiplier", "depth_multiplier"), 10  # of width and depth


class _StemStride:
    """A stem of stride 1 for timm's class, whose stem always strides by 2. Each reduction is then half as large."""

    def __init__(self, *args: Any, output_stride: int = 32, **kwargs: Any) -> None:
        doubled: Any = {"output_stride": 2 * output_stride}  # timm's class takes it; mypy sees only this mixin
        super().__init__(*args, **doubled, **kwargs)
        self.conv_stem.stride = (1, 1)  # type: ignore[attr-defined]  # a mixin: timm's class has the stem
        info = self.feature_info  # type: ignore[attr-defined]  # likewise
        for tap in info if isinstance(info, list) else info.info:
            tap["reduction"] //= 2


class ScarletNet(_StemStride, EfficientNet):
    """A network of a space whose stem keeps the resolution."""


class ScarletFeatures(_StemStride, EfficientNetFeatures):
    """Feature extractor of a space whose stem keeps the resolution."""


def _cfg(input_size: int = 224, **kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, input_size, input_size),
        "pool_size": (-(-input_size // 32), -(-input_size // 32)),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": "apache-2.0",
        "origin_url": PUBLISHED_URL,
        "paper_name": "SCARLET-NAS: Bridging the Gap between Stability and Scalability in Weight-sharing Neural "
        "Architecture Search",
        "paper_ids": "arXiv:1908.06022",
        **kwargs,
    }


def _cfgs(name: str) -> dict[str, Any]:
    """The cfgs of a released network. The published weights carry no licence, and ours were trained here."""
    published = _cfg(license="unknown", file=registered_file(name, PUBLISHED))
    shipped = _cfg(64, **CFG, file=registered_file(name, TAG))
    # The published one last: timm makes the first tag with weights the default, unless a starred one follows.
    return {f"{name}.{TAG}": shipped, f"{name}.{PUBLISHED}*": published}


default_cfgs = generate_default_cfgs(
    {
        **{key: cfg for name in GENOTYPES for key, cfg in _cfgs(name).items()},
        "scarlet_a2": _cfg(260, crop_pct=0.89),
        "scarlet_a4": _cfg(380, crop_pct=0.922),
        "scarlet_net": _cfg(),
    }
)


def _create(
    variant: str,
    pretrained: bool,
    genotype: Genotype,
    channel_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    **kwargs: Any,
) -> nn.Module:
    """Build a genotype with timm. Width and depth are scaled as EfficientNet's (arXiv 1905.11946)."""
    if not (0 < channel_multiplier <= MAX_MULTIPLIER and 0 < depth_multiplier <= MAX_MULTIPLIER):
        raise UserError(f"multipliers {channel_multiplier!r} and {depth_multiplier!r}: the most is {MAX_MULTIPLIER}")
    if variant == "scarlet_net" and not channel_multiplier == depth_multiplier == 1:
        raise UserError("scarlet_net is not scaled, as no genotype describes the result: scale scarlet_a, _b or _c")
    if pretrained:
        kwargs = weights.resolve(variant, kwargs)
    space, full_size = genotype.space, genotype.space.stem.stride == 1
    features_only = kwargs.pop("features_only", False)
    wrapped = features_only and not kwargs.keys().isdisjoint(("feature_cls", "feature_cfg"))  # by a class of timm's
    own_features = features_only and not wrapped
    if features_only:
        feature_cfg = dict(kwargs.pop("feature_cfg", None) or {})
        out_indices = kwargs.pop("out_indices", feature_cfg.pop("out_indices", None))
        kwargs |= {"out_indices": _out_indices(out_indices, genotype), "feature_cfg": feature_cfg}
    if kwargs.setdefault("output_stride", 32) not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}, not {kwargs['output_stride']!r}")
    round_channels_by = partial(round_channels, multiplier=channel_multiplier)
    classifier: type[nn.Module] = ScarletNet if full_size else EfficientNet
    features: type[nn.Module] = ScarletFeatures if full_size else EfficientNetFeatures
    if space.head.pool_first:
        classifier, features = MobileNetV3, MobileNetV3Features
        kwargs |= {"se_from_exp": False, "head_norm": space.head.norm, "head_bias": not space.head.norm}
        if not own_features and kwargs.pop("output_stride") != OUTPUT_STRIDES[-1]:
            raise ValueError("output_stride must be 32: the head of this space's networks is behind the pooling")
    kwargs.pop("pretrained_strict", None)  # always strict: what is missing would be random
    no_head: Any = ("num_classes", "num_features", "head_conv", "head_norm", "head_bias", "global_pool")  # timm: of one
    model: Any = build_model_with_cfg(  # timm sets attributes that nn.Module does not declare
        features if own_features else partial(_with_small_head, classifier),
        variant,
        pretrained,
        features_only=wrapped,
        pretrained_filter_fn=weights.fit,
        kwargs_filter=no_head if own_features else None,
        block_args=_block_args(genotype, depth_multiplier),
        stem_size=space.stem.channels,
        num_features=round_channels_by(space.head.channels),
        round_chs_fn=round_channels_by,
        act_layer=get_act_layer(kwargs.pop("act_layer", space.stem.act)),
        norm_layer=kwargs.pop("norm_layer", None)
        or partial(nn.BatchNorm2d, **{"eps": space.norm_eps} | resolve_bn_args(kwargs)),
        se_layer=partial(
            SqueezeExcite,
            gate_layer=space.se.gate,
            force_act_layer=get_act_layer(space.se.act),
            rd_round_fn=round if space.se.divisor == 1 else round_channels,
        ),
        pad_type=space.pad,
        **kwargs,
    )
    if own_features:
        model.pretrained_cfg = model.default_cfg = pretrained_cfg_for_features(model.pretrained_cfg)
    if channel_multiplier == depth_multiplier == 1:
        model.genotype = genotype  # what a saved folder needs to build the network again
    return model


def _with_small_head(model_cls: Callable[..., nn.Module], **kwargs: Any) -> nn.Module:
    """The model with a small classifier; with timm's, for 1000 classes, the first loss of 10 is 4.5 (chance 2.3)."""
    model = model_cls(**kwargs)
    if isinstance(model.classifier, nn.Linear):
        nn.init.normal_(model.classifier.weight, std=0.01)
    return model


def _block_args(genotype: Genotype, depth_multiplier: float = 1.0) -> list[list[dict[str, Any]]]:
    stages = decode_arch_def(genotype.block_strings(), depth_multiplier)
    for block in (block for stage in stages for block in stage):
        if not block["act_layer"]:  # a projecting identity is linear; block strings cannot say so
            block["act_layer"] = nn.Identity
    return stages


def _out_indices(out_indices: int | Iterable[int] | None, genotype: Genotype) -> tuple[int, ...]:
    """Feature taps to return, shallow to deep: all by default, the last n for an int (as in timm), or those given."""
    taps = 1 + sum(stage.stride > 1 for stage in genotype.space.stages)
    asked = taps if out_indices is None else out_indices
    try:
        indices = asked if isinstance(asked, Iterable) else range(-operator.index(asked), 0)
        given = [operator.index(index) for index in indices]
    except TypeError:
        given = []
    taken = sorted({i % taps for i in given if -taps <= i < taps})
    if not given or len(taken) < len(given):
        raise ValueError(f"out_indices {out_indices!r}: name each once of this network's feature taps 0 to {taps - 1}")
    return tuple(taken)


def refresh(name: str) -> None:
    """Register a released network again, so that timm knows which weights of it there are now."""
    default_cfgs.update(generate_default_cfgs(_cfgs(name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm warns of a name that is registered again
        register_model(globals()[name])


@register_model
def scarlet_a(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SCARLET-A: 365M MACs, 6.7M params, 76.9% ImageNet top-1 in the paper."""
    return _create("scarlet_a", pretrained, Genotype.parse(GENOTYPES["scarlet_a"]), **kwargs)


@register_model
def scarlet_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SCARLET-B: 327M MACs, 6.5M params, 76.3% ImageNet top-1 in the paper."""
    return _create("scarlet_b", pretrained, Genotype.parse(GENOTYPES["scarlet_b"]), **kwargs)


@register_model
def scarlet_c(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SCARLET-C: 280M MACs, 6.1M params, 75.6% ImageNet top-1 in the paper."""
    return _create("scarlet_c", pretrained, Genotype.parse(GENOTYPES["scarlet_c"]), **kwargs)


@register_model
def scarlet_a2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SCARLET-A scaled by EfficientNet-B2's factors: 0.94G MACs at 260 px, 13.2M params; no weights were published."""
    return _create("scarlet_a2", pretrained, Genotype.parse(GENOTYPES["scarlet_a"]), 1.1, 1.2, **kwargs)


@register_model
def scarlet_a4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SCARLET-A scaled by EfficientNet-B4's factors: 4.21G MACs at 380 px, 27.9M params; no weights were published."""
    return _create("scarlet_a4", pretrained, Genotype.parse(GENOTYPES["scarlet_a"]), 1.4, 1.8, **kwargs)


@register_model
def scarlet_net(
    pretrained: bool = False,
    genotype: str | Sequence[int] | Genotype | None = None,
    space: str | Path | Mapping[str, Any] | SearchSpace | None = None,
    **kwargs: Any,
) -> nn.Module:
    """The network of any genotype of any space.

    Args:
        genotype: One choice index a layer, such as "2,4,1,...". Without a genotype and a space this is SCARLET-A.
        space: Name, YAML file or mapping (default: the genotype's own if it is a `Genotype`, else "scarlet").

    Raises:
        UserError: A space without a genotype, or a genotype that is not in the space.
    """
    if genotype is None:
        if space is not None:
            raise UserError('scarlet_net needs genotype="2,4,1,...", one choice index a layer of the space')
        genotype = GENOTYPES["scarlet_a"]
    if space is None:
        space = genotype.space if isinstance(genotype, Genotype) else "scarlet"
    parsed = Genotype.parse(genotype, space)
    if not kwargs.get("pretrained_cfg"):
        size, pool = parsed.space.input_size, parsed.space.map_sizes(parsed.space.input_size)[-1]
        own = {"input_size": (3, size, size), "num_classes": parsed.space.num_classes, "pool_size": (pool, pool)}
        kwargs["pretrained_cfg_overlay"] = own | dict(kwargs.get("pretrained_cfg_overlay") or {})
    return _create("scarlet_net", pretrained, parsed, **kwargs)
