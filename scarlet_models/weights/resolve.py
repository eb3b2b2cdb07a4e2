"""Where a tag's weights come from: the local store, then the package, then the Hub. Every file is checked by sha256.

A folder of weights holds files `NAME.TAG.safetensors` and a `manifest.json` that maps each file's name to its sha256,
or to several while `store.install` replaces the file: wherever that is killed, the file that is there is listed.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from timm.models import get_arch_pretrained_cfgs
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.files import remove, sha256_of

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED, SHIPPED = "xiaomi_in1k", "c10"
PUBLISHED_URL = "https://github.com/xiaomi-automl/SCARLET-NAS"
_SOURCES = ("state_dict", "file", "url", "hf_hub_id")


def store_dir() -> Path:
    """The local store: `SCARLET_HOME`, or a folder in the user's cache. It need not exist.

    Raises:
        UserError: it is in a home folder that there is not.
    """
    try:
        if home := os.environ.get("SCARLET_HOME"):
            return Path(home).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scarlet_models"
    except RuntimeError as error:
        raise UserError("the store of weights has no home folder to be in: set SCARLET_HOME to a folder") from error


def package_dir() -> Path:
    """The folder of the weights that ship."""
    return Path(str(files("scarlet_models") / "weights"))


def find(name: str, tag: str) -> Path | None:
    """The local file of `name.tag`, in the store or else the package; None if there is none. Not yet checked.

    Raises:
        UserError: the store cannot be read.
    """
    paths = [folder / f"{name}.{tag}.safetensors" for folder in (store_dir(), package_dir())]
    try:
        return next((path for path in paths if path.is_file()), None)
    except OSError as error:
        raise _unreadable(store_dir(), error) from error


def registered_file(name: str, tag: str) -> str | None:
    """The file for timm's registry, which names only what loads: `find`, if it passes `check`. Never raises.

    To hash what is here takes a hundredth of the time that importing torch and timm does.
    """
    try:
        if path := find(name, tag):
            check(path)
        return str(path) if path else None
    except UserError:
        return None


def read_manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """File name -> accepted sha256s, from the folder's manifest.json; empty where there is none.

    Raises:
        UserError: the manifest is damaged or cannot be read.
    """
    path = folder / "manifest.json"
    try:
        entries = json.loads(path.read_text())
        return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in entries.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and install the weights again") from error


def check(path: Path) -> None:
    """Compare a file's sha256 with the manifest of its folder.

    Raises:
        UserError: it is not listed, has another hash, or cannot be read.
    """
    listed = read_manifest(path.parent).get(path.name)
    if listed is None:
        raise UserError(f"{path} is not listed in manifest.json beside it: use `scarlet-models weights install`")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if found not in listed:
        raise UserError(f"{path} is damaged (its sha256 is not the listed one): remove it and install it again")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror}; mend that, or set SCARLET_HOME to another store")


def resolve(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a model built with `pretrained=True`, with the weights of its tag found, checked and filled in.

    Without a tag: the published ImageNet weights if they are in the store, else the CIFAR-10 weights that ship, with a
    warning. An explicit tag, cfg or overlay wins.

    Raises:
        UserError: there are no such weights here, or the file is damaged.
    """
    cfg, overlay = kwargs.get("pretrained_cfg"), dict(kwargs.get("pretrained_cfg_overlay") or {})
    if any(overlay.get(source) for source in _SOURCES):  # those of the cfg must not come before it
        overlay = {"source": None, **dict.fromkeys(_SOURCES), **overlay}
    given = {**_fields(cfg), **overlay}
    if any(given.get(source) for source in _SOURCES):
        _check_source(given, kwargs.get("cache_dir"))
        return {**kwargs, "pretrained_cfg_overlay": overlay}
    tag = _default_tag(name) if not cfg else cfg if isinstance(cfg, str) else given.get("tag")
    path = _find_checked(name, tag, kwargs.get("cache_dir"), asked=bool(cfg))
    if not cfg and tag == SHIPPED:
        warnings.warn(
            f"{name}: the published ImageNet weights are not here; these are {name}.{SHIPPED}, which this project "
            f"trained on CIFAR-10 (10 classes, 64 px). For the ImageNet weights {_how_to_get(name, PUBLISHED)}",
            stacklevel=4,
        )
    return {**kwargs, "pretrained_cfg": cfg or tag, "pretrained_cfg_overlay": {**overlay, "file": str(path)}}


def fit(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors for a model, as float32; timm calls it before it loads.

    A feature extractor gets what it has. Nothing but the classifier may be missing: with another number of classes timm
    does not load strictly, and would leave whatever is missing random.

    Raises:
        UserError: the weights are those of another network.
    """
    own = model.state_dict()
    optional = ("classifier.",) if hasattr(model, "classifier") else ()
    missing = [key for key in own if key not in state_dict and not key.startswith(optional) and own[key].dim()]
    if missing:
        raise UserError(f"the weights are of another network: {len(missing)} tensors are missing, such as {missing[0]}")
    wanted = state_dict if hasattr(model, "classifier") else own
    tensors = {key: tensor for key, tensor in state_dict.items() if key in wanted}
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def _fields(cfg: Any) -> dict[str, Any]:
    """The entries of an explicit cfg: a mapping or timm's PretrainedCfg; none for a tag."""
    if not cfg or isinstance(cfg, str):
        return {}
    return dict(cfg) if isinstance(cfg, Mapping) else dict(vars(cfg))


def _default_tag(name: str) -> str:
    return PUBLISHED if find(name, PUBLISHED) else SHIPPED


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
    if path := find(name, tag):
        check(path)
        return path
    if hub_id := cfgs[tag].hf_hub_id:
        path = download(hub_id, cfgs[tag].hf_hub_filename, cache_dir)
        _check_download(path, [folder / f"{name}.{tag}.safetensors" for folder in (store_dir(), package_dir())])
        return path
    raise UserError(
        f"no weights for {name}.{tag} here: {_how_to_get(name, tag)}"
        if asked
        else f"no weights for {name} here: for the published ImageNet weights {_how_to_get(name, PUBLISHED)}"
    )


def _how_to_get(name: str, tag: str) -> str:
    if tag == PUBLISHED:
        checkpoint = f"{name.title().replace('_', '')}.pth.tar"
        return f"get {checkpoint} from {PUBLISHED_URL} and run `scarlet-models convert {checkpoint} --install`"
    return f"they come with the package; `scarlet-models weights install {name}.{tag}.safetensors` adds a copy"


def _check_source(given: Mapping[str, Any], cache_dir: Any) -> None:
    """Check the source that timm will load an explicit cfg from, where something is known about it."""
    from_hub = given.get("source") == "hf-hub" or not any(given.get(key) for key in ("state_dict", "file"))
    if from_hub and given.get("hf_hub_id"):
        download(given["hf_hub_id"], given.get("hf_hub_filename"), cache_dir)
    elif not given.get("state_dict") and given.get("file"):
        path, ours = Path(given["file"]), [package_dir()]
        if not path.exists():
            raise UserError(f"no weights at {path}: give a file that is there")
        with contextlib.suppress(UserError):  # who has no store may have files
            ours.append(store_dir())
        if path.parent in ours:
            check(path)


# The Hub


def download(hub_id: str, filename: str | None = None, cache_dir: Any = None) -> Path:
    """A file of a Hub repository (`user/repo` or `user/repo@revision`), from the Hub's cache or the network.

    The Hub names large files in its cache by their sha256, so that a damaged download is noticed; it is then removed.

    Raises:
        UserError: it cannot be had, or is not what the Hub says it is.
    """
    from huggingface_hub import hf_hub_download

    repo, _, revision = hub_id.partition("@")
    name = filename or "model.safetensors"
    try:
        path = Path(hf_hub_download(repo, name, revision=revision or None, cache_dir=cache_dir))
    except Exception as error:  # the client also raises what its HTTP library does, and which that is has changed
        raise UserError(f"cannot download {name} of {repo} from the Hugging Face Hub: {hub_reason(error)}") from error
    expected = _blob(path).name
    if len(expected) == 64 and sha256_of(path) != expected:
        _discard(path)
        raise UserError(f"{name} of {repo} came damaged from the Hugging Face Hub (wrong sha256): try again")
    return path


def hub_reason(error: Exception) -> str:
    """What an error of the Hub's client says, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _check_download(path: Path, listed_as: list[Path]) -> None:
    """Compare a downloaded file with the manifests that list it."""
    known = [hashes for entry in listed_as if (hashes := read_manifest(entry.parent).get(entry.name))]
    if known and not any(sha256_of(path) in hashes for hashes in known):
        _discard(path)
        raise UserError(f"the Hub's {listed_as[0].name} is not the one listed (wrong sha256): not loaded")


def _blob(path: Path) -> Path:
    """What a file in the Hub's cache links to; that may itself be a link, into a store that goes by other hashes."""
    return path.parent / path.readlink() if path.is_symlink() else path


def _discard(path: Path) -> None:
    remove(_blob(path))
    remove(path)
