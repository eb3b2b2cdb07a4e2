"""Which weights `pretrained=True` loads: those of the store, else the package, else the Hub; never random ones."""

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import get_arch_pretrained_cfgs
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of

from . import store
from .shipped import ACCURACIES, CLASSES, DATA, PUBLISHED, PUBLISHED_URL, TAG
from .source import HUB, LOCAL, WEIGHTS, check_weights, discard, download, not_finite, read_config

_SOURCES = ("state_dict", "file", "url", "hf_hub_id")
# timm leaves random what a cfg names here if it does not fit: no cfg may name other tensors.
_OURS = {"classifier": "classifier", "first_conv": "conv_stem", "custom_load": False}


def resolve(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a model built with `pretrained=True`, with the weights of its tag found, checked and filled in.

    Without a tag: the published ImageNet weights if they are in the store, else the weights that ship, with a warning.
    An explicit tag, cfg or overlay wins.
    """
    cfg, overlay = kwargs.get("pretrained_cfg"), dict(kwargs.get("pretrained_cfg_overlay") or {})
    if any(overlay.get(source) for source in _SOURCES):  # those of the cfg must not come before it
        overlay = {"source": None, **dict.fromkeys(_SOURCES), **overlay}
    overlay |= _OURS
    entries: Any = {} if not cfg or isinstance(cfg, str) else cfg  # else a mapping or timm's PretrainedCfg
    given = {**(entries if isinstance(entries, Mapping) else vars(entries)), **overlay}
    cache_dir = kwargs.get("cache_dir")
    if any(given.get(source) for source in _SOURCES):
        _check_given(given, cache_dir)
        return {**kwargs, "pretrained_cfg_overlay": overlay}
    default = TAG if name in ACCURACIES and not store.find(name, PUBLISHED) else PUBLISHED
    tag = default if not cfg else cfg if isinstance(cfg, str) else given.get("tag")
    path = _find_checked(name, tag, cache_dir, asked=bool(cfg))
    if not cfg and tag == TAG:
        warnings.warn(
            f"{name}: the published ImageNet weights are not here; these are {name}.{tag}, which this project trained "
            f"on {DATA} ({len(CLASSES)} classes, 64 px). For the ImageNet weights "
            f"{_how_to_get(name, PUBLISHED)}",
            stacklevel=4,
        )
    return {**kwargs, "pretrained_cfg": cfg or tag, "pretrained_cfg_overlay": {**overlay, "file": str(path)}}


def fit(state_dict: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The tensors for a model, as float32; timm calls it before it loads.

    A feature extractor gets what it has. Only a new head may be missing, that of a number of classes which the weights
    do not have: timm does not load strictly then, and would leave whatever is missing random.
    """
    own, has_head = model.state_dict(), hasattr(model, "classifier")
    new_head = has_head and model.num_classes != model.pretrained_cfg["num_classes"]
    weight, cfg = state_dict.get("classifier.weight"), model.pretrained_cfg
    if new_head and weight is not None and len(weight) == model.num_classes:  # only the cfg says otherwise
        raise UserError(
            f"the weights have the {model.num_classes} classes that are asked for, but their cfg says "
            f"{cfg['num_classes']}: add num_classes={model.num_classes} to pretrained_cfg_overlay"
        )
    optional = ("classifier.",) if new_head else ()
    needed = {key: tensor.shape for key, tensor in own.items() if tensor.dim() and not key.startswith(optional)}
    missing = [key for key in needed if key not in state_dict]
    if missing:
        raise UserError(f"the weights are of another network: {len(missing)} tensors are missing, such as {missing[0]}")
    for key, shape in needed.items():
        if state_dict[key].shape != shape and key != "conv_stem.weight":  # which timm adapts to the images' channels
            found = f"{tuple(state_dict[key].shape)}, not {tuple(shape)}"
            raise UserError(f"the weights are of another network: {key} has shape {found}")
    tensors = {key: tensor for key, tensor in state_dict.items() if has_head or key in own}
    if problem := not_finite(tensors):
        raise UserError(f"the weights are damaged: {problem}")
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def _find_checked(name: str, tag: str | None, cache_dir: Any, asked: bool) -> Path:
    """The file of a tag, from store, package or Hub. `asked`: the caller named the tag."""
    cfgs = {key.partition(".")[2]: cfg for key, cfg in get_arch_pretrained_cfgs(name).items() if "." in key}
    if not cfgs:
        raise UserError(
            f"{name} has no pretrained weights, none were published: build it with pretrained=False, give a file of "
            "your own (pretrained_cfg_overlay={'file': ...}), or load a saved folder (local-dir:FOLDER)"
        )
    if tag not in cfgs:
        wrong = f"{name} has no weights {tag!r}" if tag else f"the cfg for {name} names neither weights nor a tag"
        raise UserError(f"{wrong}: its tags are {', '.join(cfgs)}")
    if path := store.find_checked(name, tag):
        return path
    if hub_id := cfgs[tag].hf_hub_id:
        path = download(hub_id, cfgs[tag].hf_hub_filename or WEIGHTS, cache_dir)
        _check_download(path, f"{name}.{tag}.safetensors")
        return path
    if asked:
        raise UserError(f"no weights for {name}.{tag} here: {_how_to_get(name, tag)}")
    raise UserError(f"no weights for {name} here: for the published ImageNet weights {_how_to_get(name, PUBLISHED)}")


def _check_download(path: Path, name: str) -> None:
    """Compare a downloaded file with the manifests that list it."""
    known = [store.read_manifest(folder).get(name) for folder in (store.store_dir(), store.package_dir())]
    listed = [hashes for hashes in known if hashes]
    if listed and not any(sha256_of(path) in hashes for hashes in listed):
        discard(path)
        raise UserError(f"the Hub's {name} is not the one listed (wrong sha256): not loaded")


def _how_to_get(name: str, tag: str) -> str:
    if tag == PUBLISHED:
        checkpoint = f"{name.title().replace('_', '')}.pth.tar"
        return f"get {checkpoint} from {PUBLISHED_URL} and run `scarlet-models convert {checkpoint} --install`"
    return f"they come with the package; `scarlet-models weights install {name}.{tag}.safetensors` adds a copy"


def _check_given(given: Mapping[str, Any], cache_dir: Any) -> None:
    """Check the source that timm will load an explicit cfg from."""
    if given.get("source") == LOCAL:
        read_config(LOCAL, given["file"])
        check_weights(LOCAL, given["file"])
    elif given.get("source") == HUB:
        read_config(HUB, given["hf_hub_id"], cache_dir)
        check_weights(HUB, given["hf_hub_id"], cache_dir, given.get("hf_hub_filename"))
    elif given.get("state_dict"):
        return
    elif given.get("file"):
        _check_file(Path(given["file"]))
    elif given.get("hf_hub_id"):
        check_weights(HUB, given["hf_hub_id"], cache_dir, given.get("hf_hub_filename"))


def _check_file(path: Path) -> None:
    """Check that a file is there, and is the listed one if it is in the store or the package."""
    if not path.exists():
        raise UserError(f"no weights at {path}: give a file that is there")
    ours = [store.package_dir()]
    with contextlib.suppress(UserError):  # who has no store may have files
        ours.append(store.store_dir())
    if path.parent in ours:
        store.check(path)
