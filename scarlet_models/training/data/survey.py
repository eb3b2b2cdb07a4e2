"""What images contain, before they are trained on: a digest of each, and whether it can be decoded.

What was found is kept in the user's cache folder, by path, size and times of each file, so only new files are read.
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_text
from scarlet_models.weights.store import store_dir

from ..progress import Progress

MOST_CHECKED = 200_000  # images
_LISTED = 100  # broken images in an error

_logger = logging.getLogger(__name__)


class Finding(NamedTuple):
    """What is known of an image: a digest of its content, its size, and why it cannot be decoded (empty if it can)."""

    digest: str
    width: int
    height: int
    fault: str


def digest(content: bytes) -> str:
    """128 bits that name a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def survey(
    root: Path | str, names: Sequence[str], stamps: Sequence[str], inspect: Callable[[int], Finding], workers: int
) -> list[Finding]:
    """Inspect in threads the images, by index, that have no stamp or another than when they were last found whole."""
    cache, known = _cache_of(root)
    findings = [_known(known.get(name), stamp) for name, stamp in zip(names, stamps, strict=True)]
    new = [index for index, found in enumerate(findings) if found is None]
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        Progress(len(new), 0, "check images", quiet=len(new) < 1000) as progress,
    ):
        for index, found in zip(new, pool.map(inspect, new), strict=True):
            findings[index] = found
            progress.advance(names[index])
    whole = [found for found in findings if found is not None]
    if new and any(stamps) and cache:
        known_now = zip(names, stamps, whole, strict=True)
        rows = {name: [stamp, *found] for name, stamp, found in known_now if stamp and not found.fault}  # it may pass
        try:
            write_text(cache, json.dumps(rows, indent=0))
        except UserError as error:
            _logger.info("images will be checked again next time: %s", error)
    return whole


def _known(row: object, stamp: str) -> Finding | None:
    match row:
        case [str(then), str(mark), int(width), int(height), ""] if stamp and then == stamp:
            return Finding(mark, width, height, "")
    return None


def _cache_of(root: Path | str) -> tuple[Path | None, dict[str, object]]:
    """The file of what is known and its content; no file where there is no home folder."""
    path = None
    try:
        path = store_dir() / "data" / f"{digest(str(Path(root).resolve()).encode())}.json"
        return path, read_json(path, dict) if path.exists() else {}
    except (UserError, OSError):  # damaged: as if it were not there
        return path, {}


def refuse_broken(where: str, names: Sequence[str], findings: Iterable[Finding], skip: bool | None) -> list[int]:
    """The indices of the images that can be decoded. Others are left out with a warning (`skip`), or refused.

    `skip` is None where users have no such option.
    """
    faults = {index: found.fault for index, found in enumerate(findings) if found.fault}
    whole = [index for index in range(len(names)) if index not in faults]
    if not faults:
        return whole
    listed = ", ".join(f"{names[index]} ({fault})" for index, fault in itertools.islice(faults.items(), _LISTED))
    more = f", and {len(faults) - _LISTED:,} more" if len(faults) > _LISTED else ""
    what = f"{len(faults):,} of {len(names):,} images cannot be read: {listed}{more}"
    or_skip = "" if skip is None else ", or leave them out with --skip-broken"
    if not whole or not skip:
        raise UserError(f"{where}: {what}; mend or remove them{or_skip}")
    _logger.warning("%s: %s; they are left out", where, what)
    return whole
