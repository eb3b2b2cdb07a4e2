"""Files of Hugging Face Hub repositories, checked against the hash that the Hub names them by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.files import remove, sha256_of


def download(hub_id: str, filename: str, cache_dir: Any = None) -> Path:
    """A file of a Hub repository (`user/repo` or `user/repo@revision`), from the Hub's cache or the network.

    The Hub names large files in its cache by their sha256, so that a damaged download is noticed. It is then removed.
    """
    from huggingface_hub import hf_hub_download

    repo, _, revision = hub_id.partition("@")
    try:
        path = Path(hf_hub_download(repo, filename, revision=revision or None, cache_dir=cache_dir))
    except Exception as error:  # the client also raises what its HTTP library does, and which that is has changed
        reason = hub_reason(error)
        raise UserError(f"cannot download {filename} of {repo} from the Hugging Face Hub: {reason}") from error
    expected = _blob(path).name
    if len(expected) == 64 and sha256_of(path) != expected:
        discard(path)
        raise UserError(f"{filename} of {repo} came damaged from the Hugging Face Hub (wrong sha256): try again")
    return path


def hub_reason(error: Exception) -> str:
    """What an error of the Hub's client says, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def discard(path: Path) -> None:
    """Remove a file from the Hub's cache, so that the next download starts anew."""
    remove(_blob(path))
    remove(path)


def _blob(path: Path) -> Path:
    """What a file in the Hub's cache links to; that may itself be a link, into a store that goes by other hashes."""
    return path.parent / path.readlink() if path.is_symlink() else path
