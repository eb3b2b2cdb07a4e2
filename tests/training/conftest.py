"""Images that the tests of data, loading and transforms share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.images import CLASSES, random_image

from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 10, 20 and 30 images of three classes; val/ with 2 of each."""
    root = tmp_path_factory.mktemp("data")
    for first, split, counts in ((0, "train", (10, 20, 30)), (500, "val", (2, 2, 2))):
        for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                random_image(1000 * label + first + i).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def labelled(folder: Path) -> LabelledImages:
    """Its training split."""
    return LabelledImages(DataOptions(data_dir=str(folder)), "train")
