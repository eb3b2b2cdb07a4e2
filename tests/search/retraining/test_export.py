"""scarlet-search export: what timm loads gives the logits of the path or network it came from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from helpers.supernets import write_images, write_supernet
from helpers.tables import invented_table
from torch import nn

from scarlet_models import UserError
from scarlet_models.search import cli
from scarlet_models.search.latency import bench
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.search.report.context import Context
from scarlet_models.search.report.page import section_of
from scarlet_models.search.report.runs import Run
from scarlet_models.search.retraining import export
from scarlet_models.search.retraining.export import extract, find_genotype, inherited
from scarlet_models.search.scoring.heldout import HeldOut, HeldOutOptions, open_supernet
from scarlet_models.search.scoring.population import PopulationEvaluator
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.weights import save as saving

MINI = "0,3,1,2,3"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and the run of a supernet of the mini space."""
    root = tmp_path_factory.mktemp("export")
    write_images(root / "data")
    write_supernet(root / "data", root / "run")
    return root


def load(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@torch.inference_mode()
def logits(model: nn.Module, size: int = 32) -> torch.Tensor:
    return model(torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(1)))


def retrained(folder: Path, name: str = "net", seed: int = 0) -> nn.Module:
    """What retrain leaves of a network in its run's folder."""
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model("scarlet_net", genotype=MINI, space="mini", num_classes=3).eval()
    saving.save(model, folder / "exported" / name, {"drop_rate": 0.2}, label_names=("x", "y", "z"))
    return model


# A path of a supernet


def test_a_calibrated_path_is_what_the_search_scored(run: Path, tmp_path: Path) -> None:
    net, info, *_ = open_supernet(run / "run")
    images = HeldOutOptions(data_dir=str(run / "data"), workers=0, batch_size=10)
    held = HeldOut(images, info)
    batches, calibration = held.batches(CPU), held.calibration(20, CPU)[0]
    (score,) = PopulationEvaluator(net, batches, calibration).evaluate([MINI])
    report = export.write(inherited(MINI, str(run / "run"), images, 20), tmp_path / "net")
    assert report["holdout_top1"] == score.top1
    model = load(tmp_path / "net")
    trie = PopulationEvaluator(net, batches, calibration).trie([Genotype.parse(MINI, "mini")])
    with torch.inference_mode():
        for pixels, _ in batches:
            ((_, expected),) = trie.outputs(pixels)
            assert torch.allclose(model(pixels), expected, atol=1e-4)
    assert not torch.allclose(logits(model), logits(net.extract(MINI)), atol=1e-2)  # calibration made a difference


def test_without_images_the_path_keeps_the_running_statistics(run: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"--data-dir.*to recalibrate"):
        network = inherited(MINI, str(run / "run"), HeldOutOptions(), 2)
    export.write(network, tmp_path / "net")
    net, info, *_ = open_supernet(run / "run")
    model = load(tmp_path / "net")
    with torch.inference_mode():
        images = torch.randn(3, 3, 32, 32)
        assert torch.allclose(model(images), net(images, MINI), atol=1e-4)
    assert model.pretrained_cfg["label_names"] == info.classes
    assert tuple(model.pretrained_cfg["input_size"]) == (3, 32, 32)


def test_released_names_are_genotypes_too(run: Path) -> None:
    space = SearchSpace.load("scarlet")
    assert str(find_genotype("scarlet_c", space)).startswith("7,6,7,12,12,0")
    with pytest.raises(UserError, match="scarlet_c is a network of space 'scarlet', the supernet is of space 'mini'"):
        find_genotype("scarlet_c", SearchSpace.load("mini"))


# Networks that have weights


def test_a_retrained_network(tmp_path: Path) -> None:
    model = retrained(tmp_path / "run")
    report = export.write(export.trained(str(tmp_path / "run")), tmp_path / "out")
    assert set(report["files"]) == {"config.json", "model.safetensors", "README.md"}
    back = load(tmp_path / "out")
    assert torch.equal(logits(back), logits(model))
    assert back.pretrained_cfg["label_names"] == ["x", "y", "z"]
    config, first = (
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "out", tmp_path / "run/exported/net")
    )
    assert config == first
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"`{MINI}`" in card
    assert f"{Genotype.parse(MINI, 'mini').cost(32, 3).macs:,}" in card
    assert str(tmp_path) not in card + json.dumps(config)


def test_final_figures_are_those_of_these_weights(tmp_path: Path) -> None:
    retrained(tmp_path / "run")
    weights = tmp_path / "run" / "exported" / "net" / "model.safetensors"
    final = {"top1": 91.25, "images": 400, "split": "test", "weights_sha256": export.sha256_of(weights)}
    (tmp_path / "run" / "final.json").write_text(json.dumps(final))
    network = export.trained(str(tmp_path / "run" / "exported" / "net"))
    assert network.facts == {"Top-1": "91.25% of the 400 images of split test"}
    retrained(tmp_path / "run", seed=1)
    assert export.trained(str(tmp_path / "run")).facts == {}


@pytest.mark.parametrize("content", ["{", "[]", "WEIGHTS"])
def test_damaged_test_figures_are_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    retrained(tmp_path / "run")
    weights = tmp_path / "run" / "exported" / "net" / "model.safetensors"
    known = json.dumps({"weights_sha256": export.sha256_of(weights), "top1": "high"})
    (tmp_path / "run" / "final.json").write_text(content.replace("WEIGHTS", known))
    assert cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/run/final.json" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_exporting_again_replaces_and_other_files_are_refused(tmp_path: Path) -> None:
    model = retrained(tmp_path / "run")
    source = tmp_path / "run" / "exported" / "net"
    (source / "README.md").write_text("mine\n")
    for _ in range(2):
        export.write(export.trained(str(source)), tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine\n"
    assert torch.equal(logits(load(tmp_path / "out")), logits(model))
    (tmp_path / "out" / "letter.txt").touch()
    with pytest.raises(UserError, match=r"holds other files, such as letter\.txt"):
        export.write(export.trained(str(source)), tmp_path / "out")
    assert (tmp_path / "out" / "letter.txt").exists()


def test_a_name_with_weights(tmp_path: Path) -> None:
    name = "scarlet_a.tiny_in"
    report = export.write(export.trained(name), tmp_path / "net")
    assert (report["num_classes"], report["input_size"]) == (200, 64)
    model = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(logits(load(tmp_path / "net"), 64), logits(model, 64))
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["pretrained_cfg"]["label_descriptions"]["n02123045"] == "tabby"
    assert str(Path(saving.__file__).parent) not in json.dumps(config)


# The command


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [MINI, "--supernet", str(run / "run"), "--out", str(tmp_path / "net")]
    images = ["--data-dir", str(run / "data"), "--workers", "0", "--batch-size", "10"]
    assert cli.main(["export", *arguments, *images, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    cost = Genotype.parse(MINI, "mini").cost(32, 3)
    assert (report["macs"], report["params"], report["genotype"]) == (cost.macs, cost.params, MINI)
    card = (tmp_path / "net" / "README.md").read_text()
    assert "of 24 held-out images" in card
    assert report["supernet"] in card
    assert cli.main(["export", *arguments]) == 0
    said = capsys.readouterr()
    assert f'timm.create_model("local-dir:{tmp_path / "net"}", pretrained=True)' in said.out
    assert f"next: scarlet-models classify IMAGES --model local-dir:{tmp_path / 'net'}\n" in said.out
    assert "warning: batch norm keeps the supernet's running statistics" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([MINI], "a genotype has no weights: give --supernet FOLDER"),
        (["0,1", "--supernet", "RUN/run"], "genotype has 2 entries, space 'mini' has 5 layers"),
        (["3,0,0,0,0", "--supernet", "RUN/run"], "layer 0: identity (choice 3) cannot stand where the shape changes"),
        ([MINI, "--supernet", "RUN/none"], "none holds no supernet"),
        ([MINI, "--supernet", "RUN/run", "--data-dir", "RUN/run"], "RUN/run"),
        (["resnet18", "--supernet", "RUN/run"], "resnet18 is no genotype and no network of one"),
        (["RUN/run"], "holds no network"),
        (["scarlet_d"], "no network 'scarlet_d': did you mean"),
        ([MINI, "--calibration-images", "1"], "--calibration-images: 1 is below 2"),
    ],
)
def test_mistakes_get_one_line(
    run: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("RUN", str(run)) for argument in arguments]
    assert cli.main(["export", *given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message.replace("RUN", str(run)) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_several_networks_in_a_run_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        retrained(tmp_path, name)
    with pytest.raises(UserError, match=r"several networks: name one of .*exported/one, .*exported/two"):
        export.trained(str(tmp_path))


def test_what_cannot_be_folded_is_refused_without_words_for_programmers() -> None:
    with pytest.raises(UserError, match=r"layer 1: .*cannot be folded.*retrain 0,3,1,2,3 on its own") as refusal:
        extract(Supernet("mini", 3, "relu").eval(), Genotype.parse(MINI, "mini"))
    assert "fold=False" not in str(refusal.value)


# Beside a latency table


def table_of_this_machine(path: Path, **other: object) -> LatencyTable:
    """A table of invented times that says it was measured here, but for `other` facts."""
    facts = Bench(SearchSpace.load("mini"), LatencyOptions(space="mini", device="cpu")).facts()
    table = replace(invented_table(), facts={**facts, **other})
    table.save(path)
    return table


def test_the_network_is_timed_beside_its_latency_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrained(tmp_path / "run")
    table = table_of_this_machine(tmp_path / "table.json")
    arguments = ["export", str(tmp_path / "run"), "--latency-table", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    said = json.loads((tmp_path / "out" / "latency.json").read_text())
    (predicted,) = table.sum(np.array([Genotype.parse(MINI, "mini").choices]))
    assert said["predicted"] == pytest.approx(predicted, abs=1e-3)
    assert said["measured"] > 0 and (said["runtime"], said["dtype"]) == ("torch", "fp32")
    line = f"{said['predicted']:.2f} ms by the table, {said['measured']:.2f} ms measured"
    assert line in capsys.readouterr().out
    assert f"predicts {said['predicted']:.2f} ms; the network takes {said['measured']:.2f} ms (torch fp32" in page(
        tmp_path
    )
    table_of_this_machine(tmp_path / "table.json", processor="a phone's")
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency"]["measured"] is None
    assert "the network was not timed, as the table is of another device" in page(tmp_path)


def test_a_table_whose_runtime_is_missing_here_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retrained(tmp_path / "run")
    table = table_of_this_machine(tmp_path / "table.json", runtime="executorch", device="elsewhere")
    monkeypatch.setattr(bench, "_VERSIONS", {"executorch": ("no-such-package",)})
    arguments = ["export", str(tmp_path / "run"), "--latency-table", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    said = json.loads((tmp_path / "out" / "latency.json").read_text())
    (predicted,) = table.sum(np.array([Genotype.parse(MINI, "mini").choices]))
    assert said["predicted"] == pytest.approx(predicted, abs=1e-3) and said["measured"] is None
    assert "ms by the table, not timed on this device" in capsys.readouterr().out


def page(folder: Path) -> str:
    """What the report says of the exported network."""
    run = Run("export", folder / "out", "out")
    return " ".join(str(section_of(run, Context([])).text).split())


def test_only_networks_of_a_space_have_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invented_table().save(tmp_path / "table.json")
    arguments = ["--latency-table", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["export", "scarlet_c.tiny_in", *arguments]) == 2
    assert "times the blocks of space 'mini', not those of this 'scarlet'" in capsys.readouterr().err
