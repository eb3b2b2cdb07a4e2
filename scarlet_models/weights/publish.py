"""Publishing networks on the Hugging Face Hub in timm's layout: config.json, model.safetensors and a model card."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from huggingface_hub import CommitOperationAdd, HfApi

from scarlet_models.errors import UserError

from .card import CARD, card
from .hub import hub_reason
from .install import tags
from .save import load, write_config
from .source import CONFIG, LOCAL, WEIGHTS, locate
from .store import find_checked


def publish(source: str, repo_id: str, private: bool = False) -> str:
    """Push a released tag or a saved folder to the Hub in one commit. Returns the repository's address.

    Args:
        source: NAME.TAG whose weights are here, or the folder of an exported network or of its run.
        repo_id: USER/NAME, created if absent. A model card that is already there is kept.
        private: Make a new repository private.

    Raises:
        UserError: There are no such weights, or the Hub refuses or cannot be reached. Nothing is committed then.
    """
    with TemporaryDirectory() as scratch:
        files = (_tag_files if source in tags() else _folder_files)(source, repo_id, Path(scratch))
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
            raise UserError(f"cannot publish to {repo_id}: {_reason(error)}") from error


def _tag_files(name: str, repo_id: str, scratch: Path) -> dict[str, Path]:
    """The files of a released tag. Its weights are not changed, so that their sha256 stays the listed one."""
    weights = find_checked(*name.split(".", 1))
    if weights is None:
        raise UserError(f"no weights for {name} here; `scarlet-models weights list` shows what there is")
    with torch.device("meta"):
        model = timm.create_model(name)
    write_config(model, scratch / CONFIG)
    (scratch / CARD).write_text(card(model, f"hf-hub:{repo_id}"), encoding="utf-8")
    return {CONFIG: scratch / CONFIG, WEIGHTS: weights, CARD: scratch / CARD}


def _folder_files(source: str, repo_id: str, scratch: Path) -> dict[str, Path]:
    """The files of a saved folder, with its own model card if it has one."""
    folder = Path(locate(source).removeprefix(f"{LOCAL}:"))
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{source} is neither a folder with {CONFIG} and {WEIGHTS} nor one of {', '.join(tags())}")
    written = folder / CARD
    model = load(folder)
    if not written.is_file():
        written = scratch / CARD
        written.write_text(card(model, f"hf-hub:{repo_id}"), encoding="utf-8")
    return {CONFIG: folder / CONFIG, WEIGHTS: folder / WEIGHTS, CARD: written}


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "you may not write there: log in with `hf auth login`, or set HF_TOKEN to a token that may"
    return hub_reason(error)
