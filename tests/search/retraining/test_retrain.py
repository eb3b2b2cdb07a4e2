"""scarlet-search retrain: a network from its genotype, exported with its space and scored once on the test split."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from helpers.images import write_colours
from helpers.runs import QUICK, metrics, newest, same

from scarlet_models.commands import evaluate
from scarlet_models.errors import UserError
from scarlet_models.search import cli
from scarlet_models.search.commands.retrain import Options, main
from scarlet_models.space.space import SearchSpace


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def options(images: Path, tmp_path: Path) -> Options:
    """One epoch of three steps."""
    return Options(
        genotype="2,3,1,3,0",
        space="mini",
        data_dir=str(images),
        test_split="test",
        out=str(tmp_path / "run"),
        image_size=32,
        ema_decay=0.9,
        **QUICK,
    )


def test_a_genotype_is_exported_with_its_whole_space(options: Options, tmp_path: Path) -> None:
    space = SearchSpace.load("mini").to_dict() | {"name": "moved"}
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    main(dataclasses.replace(options, space=str(file), name="mine"))
    file.unlink()
    folder = Path(options.out) / "exported" / "mine"
    arguments = json.loads((folder / "config.json").read_text())["model_args"]
    assert arguments["genotype"] == "2,3,1,3,0" and arguments["space"]["name"] == "moved"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_a_finished_run_resumes_to_score_the_test_split_once(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(options)
    assert not (Path(options.out) / "final.json").exists()
    before = newest(options.out)
    main(dataclasses.replace(options, resume=True, final=True, json=True))
    final = json.loads((Path(options.out) / "final.json").read_text())
    assert json.loads(capsys.readouterr().out)["final"] == final
    assert (final["split"], final["images"]) == ("test", 30)
    assert same(newest(options.out), before)

    def never(*_: Any) -> None:
        raise AssertionError("the test split was read again")

    with monkeypatch.context() as patch:
        patch.setattr("scarlet_models.search.retraining.retraining.evaluate_classifier", never)
        main(dataclasses.replace(options, resume=True, final=True))

    whole = (Path(options.out) / "final.json").read_text()
    (Path(options.out) / "final.json").write_text(whole[:40])
    with pytest.raises(UserError, match=r"final\.json:\d+: not valid JSON"):
        main(dataclasses.replace(options, resume=True, final=True))
    (Path(options.out) / "final.json").write_text(whole)

    exported = str(Path(options.out) / "exported" / "run")
    where = {"data_dir": options.data_dir, "test_split": "test", "workers": 0, "threads": 1, "final": True}
    capsys.readouterr()
    evaluate.main(evaluate.Options(network=exported, json=True, **where))
    alone = json.loads(capsys.readouterr().out)
    for key in ("top1", "top5", "weights_sha256"):
        assert alone[key] == final[key]
    assert metrics(options.out)[-1]["image_size"] == "32"


@pytest.mark.parametrize("final", [False, True])
def test_what_a_run_began_with_is_kept(options: Options, final: bool) -> None:
    """It ends with the same files, however often it was killed."""
    main(dataclasses.replace(options, final=final))
    main(dataclasses.replace(options, resume=True, final=True))
    config = Path(options.out) / "config.yaml"
    assert yaml.safe_load(config.read_text())["final"] is final
    assert cli.main(["retrain", "--config", str(config), "--resume"]) == 0


def test_another_commands_run_is_refused(options: Options) -> None:
    main(options)
    environment = Path(options.out) / "env.json"
    environment.write_text(environment.read_text().replace("scarlet-search retrain", "scarlet-models train"))
    with pytest.raises(UserError, match="command was 'scarlet-models train', is 'scarlet-search retrain'"):
        main(dataclasses.replace(options, resume=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genotype": ""}, "--genotype is missing"),
        ({"genotype": "scarlet_a.tiny_in"}, "scarlet_a.tiny_in"),
        ({"genotype": "1,2"}, "genotype has 2 entries"),
        ({"space": "nosuch"}, "no search space"),
        ({"name": "../../elsewhere"}, "--name ../../elsewhere: give a name without folders"),
        ({"inherit": "scarlet_a.tiny_in"}, "no network of the space 'mini'"),
        ({"test_split": "nosuch", "final": True}, "no folder nosuch"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(options: Options, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(dataclasses.replace(options, **change))
    assert "\n" not in str(caught.value)
    assert not Path(options.out).exists()
