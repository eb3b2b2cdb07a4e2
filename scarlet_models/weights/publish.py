"""Pushing networks to the Hugging Face Hub in timm's layout: config.json, model.safetensors and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData
from torch import nn

from scarlet_models.errors import UserError

from .resolve import PUBLISHED, PUBLISHED_URL, SHIPPED, check, find, hub_reason
from .save import CONFIG, WEIGHTS, load, write_config
from .store import tags

CARD = "README.md"

_ABOUT = {
    PUBLISHED: "The ImageNet-1k weights that the authors of SCARLET-NAS published, in timm's layout. They come from "
    f"{PUBLISHED_URL}, which states no licence for them.",
    SHIPPED: "Trained on CIFAR-10 by the project scarlet-models, for trying things out.",
}
_DATASETS = {PUBLISHED: ["imagenet-1k"], SHIPPED: ["cifar10"]}


def publish(source: str, repo_id: str, private: bool = False) -> str:
    """Push a released tag or a saved folder to the Hub, as one commit; `timm.create_model("hf-hub:REPO")` loads it.

    Args:
        source: NAME.TAG whose weights are in the store or the package, or a folder that `saving.save` wrote.
        repo_id: USER/NAME, made if absent. A model card that is there already is kept.
        private: whether a new repository is private.

    Returns:
        The repository's address.

    Raises:
        UserError: no such weights, or the Hub refuses or cannot be reached; then nothing is committed.
    """
    with TemporaryDirectory() as scratch:
        files = (_tag_files if source in tags() else _folder_files)(source, repo_id, Path(scratch))
        try:
            return _push(files, repo_id, private, f"Publish {Path(source).name} with scarlet-models")
        except Exception as error:  # the client also raises what its HTTP library does, and which that is has changed
            raise UserError(f"cannot publish to {repo_id}: {_reason(error)}") from error


def _push(files: dict[str, Path], repo_id: str, private: bool, message: str) -> str:
    api = HfApi()
    repo = api.create_repo(repo_id, private=private or None, exist_ok=True)
    kept = {CARD} if api.file_exists(repo.repo_id, CARD) else set()
    operations = [CommitOperationAdd(name, path) for name, path in files.items() if name not in kept]
    api.create_commit(repo.repo_id, operations, commit_message=message)
    return str(repo)


def _tag_files(name: str, repo_id: str, scratch: Path) -> dict[str, Path]:
    """The files of a released tag; its weights go as they are, so that their sha256 stays the listed one."""
    weights = find(*name.split(".", 1))
    if weights is None:
        raise UserError(f"no weights for {name} here; `scarlet-models weights list` shows what there is")
    check(weights)
    with torch.device("meta"):
        model = timm.create_model(name)
    write_config(model, scratch / CONFIG)
    (scratch / CARD).write_text(card(model, f"hf-hub:{repo_id}"), encoding="utf-8")
    return {CONFIG: scratch / CONFIG, WEIGHTS: weights, CARD: scratch / CARD}


def _folder_files(source: str, repo_id: str, scratch: Path) -> dict[str, Path]:
    """The files of a saved folder, its own model card among them if it has one."""
    folder = Path(source)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{source} is neither a folder with {CONFIG} and {WEIGHTS} nor one of {', '.join(tags())}")
    written = folder / CARD
    model = load(folder)
    if not written.is_file():
        written = scratch / CARD
        written.write_text(card(model, f"hf-hub:{repo_id}"), encoding="utf-8")
    return {CONFIG: folder / CONFIG, WEIGHTS: folder / WEIGHTS, CARD: written}


def card(
    model: nn.Module,
    source: str,
    more: Mapping[str, str] | None = None,
    data_config: Mapping[str, Any] | None = None,
) -> str:
    """A model card: what the network is and how to load it.

    Args:
        model: The network.
        source: What `timm.create_model` takes to load it, such as hf-hub:USER/NAME.
        more: Facts to add to those that the model tells.
        data_config: As for `saving.save`.
    """
    cfg: Any = {**model.pretrained_cfg, **(data_config or {})}  # type: ignore[dict-item]  # timm sets it on every model
    tag, size = cfg.get("tag"), cfg["input_size"][-1]
    name = ".".join(filter(None, (cfg["architecture"], tag)))
    data = ModelCardData(
        tags=["image-classification", "timm", "scarlet-nas"],
        pipeline_tag="image-classification",
        library_name="timm",
        license=cfg.get("license"),
        datasets=_DATASETS.get(tag or ""),
    )
    facts = {
        "Params": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "Input": f"{size} x {size}",
        "Classes": str(model.num_classes),
        "Paper": "SCARLET-NAS, https://arxiv.org/abs/1908.06022",
    }
    if genotype := getattr(model, "genotype", None):
        facts = {
            "Search space": genotype.space.name,
            "Genotype": f"`{genotype}`",
            "MACs": f"{genotype.cost(size, model.num_classes).macs:,}",
            **facts,
        }
    lines = [f"- **{key}:** {value}" for key, value in {**facts, **(more or {})}.items()]
    front = ["---", data.to_yaml(), "---", f"# {name}", ""]
    return "\n".join([*front, _ABOUT.get(tag or "", ""), "", *lines, "", _USAGE.format(source)])


_USAGE = """## Use

```python
import scarlet_models  # pip install . in a clone of scarlet-models; registers the architecture with timm
import timm

model = timm.create_model("{}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
```
"""


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "you may not write there: log in with `hf auth login`, or set HF_TOKEN to a token that may"
    return hub_reason(error)
