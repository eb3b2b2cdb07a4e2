"""Model cards, and publishing networks on the Hugging Face Hub in timm's layout with such a card."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, EvalResult, HfApi, ModelCardData

from scarlet_models.errors import UserError
from scarlet_models.networks import create_on_meta

from .install import tags
from .save import load, write_config
from .shipped import ACCURACIES, DATA, HUB_ID, PUBLISHED, PUBLISHED_URL, TAG
from .source import CONFIG, LOCAL, WEIGHTS, hub_reason, locate
from .store import find_checked

CARD = "README.md"

_ABOUT = {
    PUBLISHED: "The ImageNet-1k weights that the authors of SCARLET-NAS published, in timm's layout. They come from "
    f"{PUBLISHED_URL}, which states no licence for them.",
    TAG: f"Trained by the project scarlet-models on {DATA}, as a start for fine-tuning. The images are "
    "ImageNet's, whose terms allow research and teaching that are not commercial.",
}

_CARD = """---
{front}
---
# {title}

{about}

{facts}

## Use

```python
import scarlet_models  # pip install . in a clone of scarlet-models; registers the architecture with timm
import timm

model = timm.create_model({source}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
```
"""


def publish(source: str, repo_id: str, private: bool = False) -> str:
    """Push a released tag or a saved folder to the Hub in one commit. Returns the repository's address.

    Args:
        source: NAME.TAG whose weights are here, or the folder of an exported network or of its run.
        repo_id: USER/NAME, created if absent. A model card that is already there is kept.
        private: Make a new repository private.
    """
    with TemporaryDirectory() as scratch:
        model, files = _tag(source, Path(scratch)) if source in tags() else _folder(source)
        if CARD not in files:
            files[CARD] = Path(scratch, CARD)
            files[CARD].write_text(card(model, f"hf-hub:{repo_id}"), encoding="utf-8")
        try:
            api = HfApi()
            repo = api.create_repo(repo_id, private=private or None, exist_ok=True)
            if api.file_exists(repo.repo_id, CARD):
                del files[CARD]
            operations = [CommitOperationAdd(name, path) for name, path in files.items()]
            message = f"Publish {Path(source).name} with scarlet-models"
            api.create_commit(repo.repo_id, operations, commit_message=message)
            return str(repo)
        except Exception as error:  # the client also raises what its HTTP library does, and which that is has changed
            status = getattr(getattr(error, "response", None), "status_code", None)
            login = "you may not write there: log in with `hf auth login`, or set HF_TOKEN to a token that may"
            reason = login if status in (401, 403) else hub_reason(error)
            raise UserError(f"cannot publish to {repo_id}: {reason}") from error


def card(
    model: Any, source: str, more: Mapping[str, str] | None = None, data_config: Mapping[str, Any] | None = None
) -> str:
    """A model card in Markdown, with the Hub's front matter: what the network is and how to load it.

    Args:
        model: A timm model.
        source: What `timm.create_model` takes to load it, such as hf-hub:USER/NAME.
        more: Further facts, in Markdown; names in them need `escaped`.
        data_config: Entries of the model's data config that are others than in `pretrained_cfg`.
    """
    cfg: dict[str, Any] = {**model.pretrained_cfg, **(data_config or {})}
    tag, size, genotype = cfg.get("tag") or "", cfg["input_size"][-1], getattr(model, "genotype", None)
    data = ModelCardData(
        tags=["image-classification", "timm", "scarlet-nas"],
        pipeline_tag="image-classification",
        library_name="timm",
        license=cfg.get("license"),
        datasets={TAG: [HUB_ID], PUBLISHED: ["imagenet-1k"]}.get(tag),
        model_name=cfg["architecture"],
        eval_results=_results(cfg["architecture"]) if tag == TAG else None,
    )
    facts = {}
    if genotype:
        macs = genotype.cost(size, model.num_classes).macs
        space = escaped(genotype.space.name)
        facts = {"Search space": space, "Genotype": f"`{genotype}`", "MACs": f"{macs:,}"}
    facts |= {
        "Params": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "Input": f"{size} x {size}",
        "Classes": str(model.num_classes),
        "Paper": "SCARLET-NAS, https://arxiv.org/abs/1908.06022",
        **(more or {}),
    }
    return _CARD.format(
        front=data.to_yaml(),
        title=escaped(".".join(filter(None, (cfg["architecture"], tag)))),
        about=_ABOUT.get(tag, ""),
        facts="\n".join(f"- **{key}:** {value}" for key, value in facts.items()),
        source=json.dumps(source),
    )


def _results(network: str) -> list[EvalResult] | None:
    """What the Hub shows beside a model that ships: accuracies as fractions."""
    about, metrics = ("image-classification", HUB_ID, DATA), ("accuracy", "top-5-accuracy")
    measured = zip(metrics, ACCURACIES.get(network, ()), strict=False)
    results = [EvalResult(*about, metric, percent / 100, dataset_split="validation") for metric, percent in measured]
    return results or None


def escaped(text: str) -> str:
    """A name as Markdown shows it: in one line, and with nothing in it that is markup, HTML or a link."""
    return re.sub(r"([\\`*_\[\]()<>#&|~!])", r"\\\1", " ".join(str(text).split()))


def _tag(name: str, scratch: Path) -> tuple[Any, dict[str, Path]]:
    """Model and files of a released tag. Its weights are not changed, so that their sha256 stays the listed one."""
    weights = find_checked(*name.split(".", 1))
    if weights is None:
        raise UserError(f"no weights for {name} here; `scarlet-models weights list` shows what there is")
    model = create_on_meta(name)
    write_config(model, scratch / CONFIG)
    return model, {CONFIG: scratch / CONFIG, WEIGHTS: weights}


def _folder(source: str) -> tuple[Any, dict[str, Path]]:
    """Model and files of a saved folder, with its own model card if it has one."""
    folder = Path(locate(source).removeprefix(f"{LOCAL}:"))
    files = {name: folder / name for name in (CONFIG, WEIGHTS, CARD) if (folder / name).is_file()}
    if CONFIG not in files or WEIGHTS not in files:
        raise UserError(f"{source} is neither a folder with {CONFIG} and {WEIGHTS} nor one of {', '.join(tags())}")
    return load(folder), files
