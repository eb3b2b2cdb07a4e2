"""Generated input: data, or one line. SCARLET_FUZZ sets the number of examples of each test."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.images import random_image
from helpers.spaces import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scarlet_models.detection.coco import CocoImages
from scarlet_models.documents import parse_json, parse_yaml, read_csv
from scarlet_models.errors import UserError
from scarlet_models.search.scoring.score_cache import Score, ScoreCache
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.run_folder import MetricsTable
from scarlet_models.weights.source import read_config
from scarlet_models.weights.store import read_manifest

fuzz = settings(
    max_examples=int(os.environ.get("SCARLET_FUZZ", 50)),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # a file is written over
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
hostile = st.sampled_from(
    [10**7, 10**30, -1, 0, 1e308, float("nan"), float("inf"), "", "../x", "\0", [], {}, [[]], True]
)
plain = st.recursive(
    scalars | hostile,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def altered(draw: st.DrawFn, original: Any) -> Any:
    """Plain data with some entries replaced, removed or added."""
    content = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            return draw(plain)
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                holder[key] = copy.deepcopy(draw(plain))
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = copy.deepcopy(draw(plain))
            case _:
                holder.append(copy.deepcopy(draw(plain)))
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(content) if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def data_or_one_line(read: Callable[[], Any]) -> Any:
    """What was read; None if it was refused in one line."""
    try:
        return read()
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return None


MINI = SearchSpace.load("mini")
CONFIG = {
    "architecture": "scarlet_net",
    "num_classes": 2,
    "model_args": {"genotype": "0,0,0,0,0", "space": MINI.to_dict()},
    "pretrained_cfg": {"input_size": [3, 32, 32], "num_classes": 2, "mean": [0.5, 0.5, 0.5], "crop_pct": 0.9},
}
SCORE = {"genotype": "0,1,2,3,0", "top1": 25.0, "loss": 0.5, "images": 4, "supernet": "a"}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 8, 9.5], "iscrowd": 0, "area": 76}],
    "categories": [{"id": 3, "name": "thing"}],
    "splits": {"train": ["a.png"]},
}


@fuzz
@given(st.text("0123456789,- \t.eE+x٣", max_size=30) | st.lists(st.integers(-3, 13)).map(str), spaces())
def test_genotypes(text: str, space: SearchSpace) -> None:
    genotype = data_or_one_line(lambda: Genotype.parse(text, space))
    assert genotype is None or Genotype.parse(str(genotype), space) == genotype


@fuzz
@given(altered(MINI.to_dict()))
def test_spaces(content: Any) -> None:
    space = data_or_one_line(lambda: SearchSpace.load(content) if isinstance(content, dict) else None)
    if space is not None:
        assert SearchSpace.load(space.to_dict()) == space
        assert space.cost(space.sample(0)).macs > 0


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("stages", 0, "depth"), 10**7),
        (("stages", 0, "channels"), 8 * 10**9),
        (("choices", 0, "expand"), 10**6),
        (("input_size",), 10**9),
        (("num_classes",), 10**12),
    ],
)
def test_spaces_out_of_bounds(tmp_path: Path, place: tuple[Any, ...], value: int) -> None:
    """Also whole in a config.json, before anything is built."""
    content = copy.deepcopy(MINI.to_dict())
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    with pytest.raises(UserError, match="is more than"):
        SearchSpace.load(content)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "num_classes": 10**12}))
    with pytest.raises(UserError, match="num_classes 1000000000000 is not a number from 0 to"):
        read_config("local-dir", str(tmp_path))


@fuzz
@given(content=altered(CONFIG))
def test_configs(tmp_path: Path, content: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    data_or_one_line(lambda: read_config("local-dir", str(tmp_path)))


@fuzz
@given(content=altered({"a.safetensors": "0" * 64, "b.safetensors": ["1" * 64, "2" * 64]}))
def test_manifests(tmp_path: Path, content: Any) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    data_or_one_line(lambda: read_manifest(tmp_path))


@fuzz
@given(content=altered(COCO))
def test_coco(tmp_path: Path, content: Any) -> None:
    if not (tmp_path / "images").exists():
        (tmp_path / "images").mkdir()
        random_image(0).save(tmp_path / "images/a.png")
    (tmp_path / "boxes.json").write_text(json.dumps(content))

    def read() -> None:
        images = CocoImages(str(tmp_path / "images"), str(tmp_path / "boxes.json"), "train")
        for index in range(len(images)):
            images.image(index)
            images.boxes(index)
        images.digest(workers=0)

    data_or_one_line(read)


@fuzz
@given(content=altered(SCORE), torn=st.text())
def test_evaluations(tmp_path: Path, content: Any, torn: str) -> None:
    """A line that was altered is refused, whatever it says; a torn one behind it is cut."""
    path = tmp_path / "evaluations.jsonl"
    path.unlink(missing_ok=True)
    ScoreCache(path, {"supernet": "a"}).add(Genotype.parse("1,1,1,1,1", "mini"), Score(50.0, 1.0, 4))
    good = path.read_bytes()
    path.write_bytes(good + torn.replace("\n", "").encode(errors="replace"))
    assert len(ScoreCache(path, {"supernet": "a"}).known) == 1
    assert path.read_bytes() == good
    path.write_bytes(good + json.dumps(content).encode() + b"\n")
    with pytest.raises(UserError, match=r"evaluations\.jsonl:2: not a measurement"):
        ScoreCache(path, {"supernet": "a"})


@fuzz
@given(text=st.text('step,a1.5-e\n\r"\t nanif', max_size=60))
def test_tables(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,a\n" + text, newline="")
    data_or_one_line(lambda: read_csv(path, ()))
    table = data_or_one_line(lambda: MetricsTable(path, 10))
    if table is not None:
        assert all(row["step"] <= 10 for row in table.rows())


@fuzz
@given(st.text("ab:-[]{}&*<!?#'\"|>%\n 1.~", max_size=60), plain)
def test_documents(text: str, content: Any) -> None:
    for parse in (parse_json, parse_yaml):
        data_or_one_line(lambda parse=parse: parse(text, "text"))
        data_or_one_line(lambda parse=parse: parse(json.dumps(content), "text"))
