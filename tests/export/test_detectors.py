"""Detectors as ONNX: onnxruntime finds PyTorch's boxes, on images of any shape where the detector takes any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.commands import fails, run

from scarlet_models.detection.detector import Detector, describe
from scarlet_models.detection.models import DETECTORS
from scarlet_models.errors import UserError
from scarlet_models.export.detectors import _compare

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]


def detector(kind: str) -> Detector:
    """A small detector whose random scores differ."""
    torch.manual_seed(0)
    sizes = {} if kind == "ssdlite" else {"out_channels": 16}
    made = Detector(describe(kind, "scarlet_c", sizes, (64, 96), CATEGORIES))
    for name, parameter in made.model.named_parameters():
        if "cls" in name or "class" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", DETECTORS)
def test_onnxruntime_finds_the_same_boxes(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")  # of the extra export
    made = detector(kind)
    made.save(tmp_path / "found")
    status, out, _ = run(capsys, "export", str(tmp_path / "found"), "--format", "onnx", "--out", str(tmp_path))
    assert status == 0 and "checked: boxes differ by at most" in out
    session = onnxruntime.InferenceSession(str(tmp_path / "found.onnx"))
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores", "labels"]
    about = json.loads(session.get_modelmeta().custom_metadata_map["about"])
    assert (about["detector"], about["labels"], about["short_side"]) == (kind, ["cat", "dog"], 64)
    assert "is a detector: --format onnx" in fails(
        capsys, "export", str(tmp_path / "found"), "--format", "onnx,pt2", "--out", str(tmp_path)
    )


def test_options_of_classifiers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that stands for the detector that it exported."""
    pytest.importorskip("onnxscript")  # of the extra export
    detector("ssdlite").save(tmp_path / "run" / "exported" / "run")
    command = ["export", str(tmp_path / "run"), "--format", "onnx", "--out", str(tmp_path)]
    for option in (["--input-size", "64"], ["--calibration", "x"], ["--data-dir", "x"], ["--keep", "[a]"]):
        message = fails(capsys, *command, *option)
        assert "exported/run is a detector: --format onnx is the one for it, without --input" in message
        assert option[0] in message


def test_other_boxes_are_refused() -> None:
    image = torch.zeros(3, 64, 64)
    boxes = torch.rand(20, 4) * 60
    ours = (boxes, torch.linspace(0.9, 0.1, 20), torch.ones(20, dtype=torch.int64))
    same = [part.numpy() for part in ours]
    assert _compare(ours, same, image) == 0
    assert _compare(ours, [part[:19] for part in same], image) == 0  # one of 20 may be suppressed
    with pytest.raises(UserError, match="agree on 90% of the boxes"):
        _compare(ours, [part[:18] for part in same], image)
    with pytest.raises(UserError, match="agree on 0% of the boxes"):
        _compare(ours, [(boxes + 1).numpy(), *same[1:]], image)
    with pytest.raises(UserError, match="agree on 0% of the boxes"):
        _compare(ours, [*same[:2], (ours[2] + 1).numpy()], image)
