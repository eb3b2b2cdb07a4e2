"""Image files in folders and tars: which there are, how they are labelled, and where their bytes lie."""

import logging
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from timm.utils.misc import natural_key

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.images import SUFFIXES, Place, files_in, is_image, read_file

# The first that exists is read for any name of its row.
_SYNONYMS = (("train", "training"), ("val", "valid", "validation", "eval", "evaluation"))
_DOCUMENTS = ("", ".csv", ".html", ".json", ".md", ".txt", ".xml", ".yaml")  # suffixes

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """The image files of a split, in natural order of their names."""

    root: Path  # folder or tar
    names: list[str]  # paths below the root
    places: np.ndarray  # the `Place` of each, int64 of shape (images, 4)
    ignored: dict[str, int]  # suffix -> number of files that are not images by their suffix, or hidden

    def read(self, index: int) -> bytes:
        """The content of an image's file."""
        return read_file(self.root, self.names[index], self.places[index].tolist())

    def labels(self) -> tuple[np.ndarray, list[str]]:
        """Class indices of the images, int64, and the name of each class: the folder that its images lie in."""
        folders = [PurePosixPath(name).parent.name for name in self.names]
        classes = sorted(sorted(set(folders)), key=natural_key)
        number = {name: label for label, name in enumerate(classes)}
        return np.array([number[name] for name in folders], dtype=np.int64), classes


def list_images(data_dir: str, split: str, flag: str) -> Listing:
    """The images of a split: a folder or tar in data_dir, also by timm's synonyms, also without ".tar"; else data_dir.

    A UserError says, with the `flag` that names the split, why there is none to be used.
    """
    known = (split, *(name for row in _SYNONYMS if split in row for name in row))
    paths = (Path(data_dir, name + ending) for name in known for ending in ("", ".tar"))
    found, others = dict[str, Place](), list[PurePosixPath]()
    with as_user_error(f"cannot read split {split!r} of {data_dir}", OSError, tarfile.TarError):
        found_split = next((path for path in paths if path.exists()), None)
        root = found_split or Path(data_dir)
        for file, place in files_in(root):
            if place and is_image(file):
                found[file.as_posix()] = place
            else:
                others.append(PurePosixPath(file.as_posix()))
    names = sorted(sorted(found), key=natural_key)  # for which A and a, or 1 and 01, are equal
    places = np.array([found[name] for name in names], dtype=np.int64).reshape(-1, 4)
    ignored = Counter(file.suffix.lower() or file.name for file in others)
    listing = Listing(root, names, places, dict(ignored.most_common()))
    if not names:
        tars = sorted(root.glob("*.tar"))
        advice = f"give a tar: {flag} {tars[0].name}" if tars else "give class folders"
        raise UserError(f"{root}: no images found (extensions tried: {' '.join(sorted(SUFFIXES))}); {advice}")
    if odd := [name for name in names if name.encode(errors="ignore").decode() != name]:
        raise UserError(f"{root}: the name {odd[0]!a} is not UTF-8; rename it")
    _check_folders(listing, others, "" if found_split else split, flag)
    return listing


def _check_folders(listing: Listing, others: Iterable[PurePosixPath], lacking: str, flag: str) -> None:
    """Refuses several splits in one (all of a tar, or of a folder that lacks the split) and folders that are no class.

    Those are two of one name, and one without an image; folders of documents alone are named in a warning.
    """
    root, is_tar, first = listing.root, listing.root.is_file(), dict[str, PurePosixPath]()
    folders = sorted({PurePosixPath(name).parent for name in listing.names})
    parents = sorted({folder.parent.as_posix() for folder in folders})
    listed = ", ".join(parents[:4]) + (", ..." if len(parents) > 4 else "")
    if is_tar and len(parents) > 1:
        raise UserError(f"{root} has class folders in {listed}, and a tar must be one split: unpack it into a folder")
    if lacking and not is_tar and parents != ["."]:
        raise UserError(f"{root} has no folder {lacking}, but class folders in {listed}: name the split by {flag}")
    if stray := [name for name in listing.names if "/" not in name]:
        raise UserError(f"{root}: image {stray[0]} lies in no class folder; make a folder for each class")
    for folder in folders:
        if (other := first.setdefault(folder.name, folder)) != folder:
            raise UserError(f"{root}: class folders {other} and {folder} would be one class, {folder.name}; rename one")
    known = set(folders).union(*(folder.parents for folder in folders))
    bare = [file for file in others if file.parent not in known and file.parent.parent.as_posix() in parents]
    for file in bare:
        if file.name[0] != "." and file.suffix.lower() not in _DOCUMENTS:
            advice = f"convert files such as {file.name} to JPEG or PNG, or move the folder away"
            raise UserError(f"{root}: folder {file.parent} has no image, so it would be no class; {advice}")
    if bare:
        names = ", ".join(sorted({str(file.parent) for file in bare}))
        _logger.warning("%s: folders without images are no classes: %s", root, names)
