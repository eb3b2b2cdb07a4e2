"""The study of exported networks: its tables and its figure, from the rows on file."""

from pathlib import Path

import deploy
import pytest


def test_pages_show_the_rows_on_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "ROOT", tmp_path)
    monkeypatch.setattr(deploy, "RESULTS", tmp_path / "results")
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    row = {"network": "scarlet_b.tiny_in", "format": "onnx-int8", "top1_fp32": "88.51", "top1": "88.32", "drop": "0.19"}
    row |= {"drop_ci95": "0.23", "logit_difference": "2.5e-01", "megabytes": "5.87"}
    deploy._put(deploy.RESULTS / "accuracy.csv", {**row, "top1": "1.00"}, ("network", "format"))
    deploy._put(deploy.RESULTS / "accuracy.csv", row, ("network", "format"))
    for runtime, ms in (("onnxruntime", "8.00"), ("executorch", "9.00")):
        timed = {"network": "scarlet_b", "runtime": runtime, "dtype": "int8", "milliseconds": ms, "megabytes": "7.1"}
        timed["published_top1"] = "76.3"
        deploy._put(deploy.RESULTS / "latency.csv", timed, ("network", "runtime", "dtype"))
    deploy.main(["pages"])
    out = capsys.readouterr().out
    assert out.count("| `scarlet_b.tiny_in` onnx-int8 | 88.32 | 88.51 | -0.19 [-0.42, +0.04] | 2.5e-01 | 5.87 |") == 1
    assert "1.00" not in out
    assert "| `scarlet_b` | 76.3 | 8.00 ms, 7.1 MB | 9.00 ms, 7.1 MB |" in out
    assert (tmp_path / "docs" / "figures" / "deploy_latency.png").stat().st_size > 1000
