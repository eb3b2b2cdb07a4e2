"""Images with boxes in COCO's format: an instances JSON, and a folder or tar that holds the images.

Flawed data are refused before anything runs, or dealt with as COCO's own tools do: docs/detection.md lists the cases.
Category ids may have gaps: labels count from 1 in the order of ids, as 0 is torchvision's background.
"""

import hashlib
import json
import tarfile
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, as_user_error, first_line
from scarlet_models.images import Place, check_image, files_in, read_file, read_image
from scarlet_models.training.data.survey import MOST_CHECKED, Finding, digest, refuse_broken, survey

MAX_JSON = 2 << 30  # bytes: the training split of COCO takes 450 MB


class CocoImages:
    """A split of such a data set: a key of the JSON's own "splits", a list of file names each; empty for all images.

    `images` is a folder or an uncompressed tar; a file name of the JSON, `annotations`, may lie in any folder inside.
    """

    def __init__(self, images: str, annotations: str, split: str = "") -> None:
        if not images or not annotations:
            raise UserError("give --images, a folder or tar, and --annotations, a JSON in COCO's format")
        self.name, self._where = annotations, f"{images} {annotations} {split}"
        content = read_json(annotations, dict, MAX_JSON)
        self.categories = _categories(content, annotations)  # in the order of ids: label i is the i-th, from 1
        self.records = _records(content, annotations, split)  # likewise
        self._boxes = _boxes_by_image(content, annotations, self.categories)
        self._root, self._names = Path(images), [record["file_name"] for record in self.records]
        self._files = _find(self._root, self._names)
        if degenerate := sum(_is_degenerate(box) for record in self.records for box in self._boxes[record["id"]]):
            warnings.warn(f"{annotations}: {degenerate} boxes without extent are not trained on", stacklevel=2)

    def __len__(self) -> int:
        return len(self.records)

    def image(self, index: int) -> Image.Image:
        """An image as RGB, of the annotated size."""
        record = self.records[index]
        size = record["width"], record["height"]
        with as_user_error(record["file_name"], UserError):
            image = read_image(data := read_file(self._root, *self._files[index]))
            if image.size != size:
                image = read_image(data, upright=False)
        if image.size != size:
            found, wanted = ("{} x {}".format(*numbers) for numbers in (image.size, size))
            raise UserError(f"{record['file_name']} is {found}, {self.name} says {wanted}")
        return image

    def boxes(self, index: int) -> tuple[Tensor, Tensor]:
        """What to train on: boxes x1, y1, x2, y2 in pixels, float32 of shape (n, 4), and their labels, int64 (n,)."""
        label = {category["id"]: number for number, category in enumerate(self.categories, 1)}
        kept = [box for box in self._boxes[self.records[index]["id"]] if not (box["iscrowd"] or _is_degenerate(box))]
        boxes = torch.tensor([box["bbox"] for box in kept], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, torch.tensor([label[box["category_id"]] for box in kept], dtype=torch.int64)

    def ground_truth(self) -> dict[str, Any]:
        """What to evaluate against, as COCO's tools take it, with crowds and boxes without extent."""
        boxes = [box for record in self.records for box in self._boxes[record["id"]]]
        numbered = [{**box, "id": number} for number, box in enumerate(boxes, 1)]  # the tools lose an id of 0
        return {"images": self.records, "annotations": numbered, "categories": self.categories}

    def digest(self, workers: int) -> str:
        """A sha256 that names boxes and contents of images, wherever they lie; a UserError if one cannot be decoded.

        Of more images than `MOST_CHECKED` only the sizes of files count. `workers` threads read what is new.
        """
        marks = [str(place[1]) for _, place in self._files]
        if len(self) <= MOST_CHECKED:
            stamps = [" ".join(map(str, place)) for _, place in self._files]
            findings = survey(self._where, self._names, stamps, self._inspect, workers)
            refuse_broken(self.name, self._names, findings, skip=None)
            marks = [finding.digest for finding in findings]
        return hashlib.sha256(json.dumps([self.ground_truth(), marks]).encode()).hexdigest()

    def _inspect(self, index: int) -> Finding:
        try:
            data = read_file(self._root, *self._files[index])
            return Finding(digest(data), *check_image(data), "")
        except UserError as error:
            return Finding("", 0, 0, str(error))


def _find(root: Path, names: Sequence[str]) -> list[tuple[str, Place]]:
    """The file in a folder or tar for each name, which the end of its path is, and its place."""
    by_name: dict[str, list[tuple[str, Place]]] = defaultdict(list)
    try:
        for file, place in files_in(root):
            if place:
                by_name[file.name].append((file.as_posix(), place))
    except (OSError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{root} is neither a folder nor an uncompressed tar of images: {reason}") from error
    ends = {name: f"/{PurePosixPath(name)}" for name in names}
    found = [[each for each in by_name[Path(name).name] if f"/{each[0]}".endswith(ends[name])] for name in names]
    for fault, bad in ("not", lambda count: count == 0), ("more than once", lambda count: count > 1):
        if wrong := [name for name, files in zip(names, found, strict=True) if bad(len(files))]:
            raise UserError(f"{len(wrong)} of {len(names)} images are {fault} in {root}, {wrong[0]} for one")
    return [file for (file,) in found]


def _entries(content: Mapping[str, Any], path: str, key: str, wanted: Mapping[str, type | tuple[type, ...]]) -> Any:
    """The entries under a key, after checking that each has what COCO asks for."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path} is not in COCO's format: it has no list {key!r}")
    for number, entry in enumerate(entries):
        for name, kind in wanted.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
                raise UserError(f"{path}: entry {number} of {key!r} has no {name!r} as COCO has it")
    return entries


def _categories(content: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    entries = _entries(content, path, "categories", {"id": int, "name": str})
    found = sorted(({"id": entry["id"], "name": entry["name"]} for entry in entries), key=lambda entry: entry["id"])
    if not found or len({entry["id"] for entry in found}) < len(found):
        raise UserError(f"{path}: {'two categories have one id' if found else 'there are no categories'}")
    return found


def _records(content: Mapping[str, Any], path: str, split: str) -> list[dict[str, Any]]:
    wanted = {"id": int, "file_name": str, "width": int, "height": int}
    entries = _entries(content, path, "images", wanted)
    if len({entry["id"] for entry in entries}) < len(entries):
        raise UserError(f"{path}: two images have one id")
    if split:
        splits = content["splits"] if isinstance(content.get("splits"), dict) else {}
        if split not in splits:
            there = ", ".join(map(str, splits)) or "no splits: give --split '' for all its images"
            raise UserError(f"{path} has no split {split!r}; it has {there}")
        if not isinstance(splits[split], list) or not all(isinstance(name, str) for name in splits[split]):
            raise UserError(f"{path}: split {split} is no list of file names")
        names = set(splits[split])
        if absent := names - {entry["file_name"] for entry in entries}:
            raise UserError(f"{path}: {len(absent)} images of split {split} have no entry, {min(absent)} for one")
        entries = [entry for entry in entries if entry["file_name"] in names]
    if not entries:
        raise UserError(f"{path}: there are no images")
    kept = [{name: entry[name] for name in wanted} for entry in entries]
    return sorted(kept, key=lambda record: record["id"])


def _boxes_by_image(
    content: Mapping[str, Any], path: str, categories: Sequence[Mapping[str, Any]]
) -> dict[int, list[dict[str, Any]]]:
    entries = _entries(content, path, "annotations", {"image_id": int, "category_id": int, "bbox": list})
    images, known = {entry["id"] for entry in content["images"]}, {category["id"] for category in categories}
    boxes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        box = entry["bbox"]
        if len(box) != 4 or not all(map(_is_size, box)):
            raise UserError(f"{path}: the box of annotation {number} is {box!r:.99}, not x, y, width, height")
        for what, value, those in (("image", entry["image_id"], images), ("category", entry["category_id"], known)):
            if value not in those:
                raise UserError(f"{path}: annotation {number} is of {what} {value}, which is not in it")
        kept = {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": box}
        area, crowd = entry.get("area", box[2] * box[3]), entry.get("iscrowd", 0)
        if not _is_size(area) or crowd not in (0, 1):
            raise UserError(f"{path}: annotation {number} has no number as its area, or an iscrowd besides 0 and 1")
        boxes[entry["image_id"]].append({**kept, "area": area, "iscrowd": int(crowd)})
    return boxes


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e12  # NaN is not


def _is_degenerate(box: Mapping[str, Any]) -> bool:
    return bool(min(box["bbox"][2:]) <= 0)
