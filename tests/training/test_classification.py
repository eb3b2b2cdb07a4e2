"""retrain: trains, survives kills bit for bit, scales over processes, and exports what timm loads."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import yaml
from helpers.runs import free_port, kill_after, metrics, newest, same
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.search import cli
from scarlet_models.training.classification import Options, main
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform
from scarlet_models.weights import save as saving

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images of three colours, 32 px: train/ with 40 of each, test/ with 10."""
    root = tmp_path_factory.mktemp("colours")
    noise = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for channel, name in enumerate(reversed(CLASSES)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = noise.integers(0, 120, (32, 32, 3))
                pixels[..., channel] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


def _options(images: Path, out: Path) -> Options:
    """Three epochs of three steps in seconds, with everything on that is random or has state."""
    return Options(
        model="test_efficientnet",
        data_dir=str(images),
        test_split="test",
        out=str(out),
        phases=[(2, 24), (1, 32)],
        batch_size=32,
        lr=0.05,
        warmup_epochs=0.5,
        opt_args={"nesterov": True},
        drop_rate=0.2,
        drop_path_rate=0.1,
        ema_decay=0.9,
        mixup=0.2,
        crop_pct=1.0,
        workers=0,
        threads=1,
    )


@pytest.fixture
def options(images: Path, tmp_path: Path) -> Options:
    return _options(images, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A run that nothing interrupted."""
    options = _options(images, tmp_path_factory.mktemp("whole") / "run")
    main(options)
    return options


def _command(options: Options, *more: str, processes: int = 1) -> list[str]:
    """The command line of these options, for another process."""
    arguments = []
    for name, value in dataclasses.asdict(options).items():
        flag = name.replace("_", "-")
        arguments += (
            [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}={json.dumps(value)}"]
        )
    arguments = [argument.replace('"', "") if '="' in argument else argument for argument in arguments]
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", free_port()]
    return [*start, "-m", "scarlet_models.search", "retrain", *arguments, *more]


def test_a_run_leaves_everything_in_its_folder(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    main(dataclasses.replace(options, name="mine", json=True, final=True, mixup=0.0, lr=0.1, phases=[(5, 24), (1, 32)]))
    report = json.loads(capsys.readouterr().out)
    run = Path(options.out)
    assert report["exported"] == str(run / "exported" / "mine")
    assert yaml.safe_load((run / "config.yaml").read_text())["phases"] == [[5, 24], [1, 32]]
    environment = json.loads((run / "env.json").read_text())
    assert environment["torch"] == torch.__version__.split("+")[0] or environment["torch"] == torch.__version__
    assert (environment["threads"], environment["workers"], environment["world_size"]) == (1, 0, 1)
    assert list((run / "events").glob("events.out.tfevents.*"))

    rows = metrics(options.out)
    assert [int(row["epoch"]) for row in rows] == list(range(1, 7))
    assert [int(row["step"]) for row in rows] == list(range(3, 19, 3))
    assert [int(row["image_size"]) for row in rows] == [24] * 5 + [32]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    best = max(float(rows[-1]["holdout_top1"]), float(rows[-1]["ema_holdout_top1"]))
    assert best >= 75, "colours are easy"

    final = json.loads((run / "final.json").read_text())
    assert final == report["final"]
    assert (final["split"], final["images"]) == ("test", 30)
    assert final["top1"] >= 75 and final["top5"] == 100
    assert len(final["weights_sha256"]) == 64 and final["command"] and final["machine"]["torch"]


def test_the_export_is_the_best_network_and_loads_through_timm(whole: Options, images: Path) -> None:
    folder = Path(whole.out) / "exported" / "run"
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = resolve_model_data_config(model)
    assert tuple(config["input_size"]) == (3, 32, 32) and config["crop_pct"] == 1.0
    assert model.num_classes == 3 and model.pretrained_cfg["label_names"] == list(CLASSES)

    state, results = newest(whole.out), metrics(whole.out)[-1]
    better = "ema" if float(results["ema_holdout_top1"]) >= float(results["holdout_top1"]) else "model"
    direct = timm.create_model("test_efficientnet", num_classes=3).eval()
    direct.load_state_dict(state[better])
    held = LabelledImages(DataOptions(data_dir=str(images)), "train")
    split = split_holdout(held.ids, held.labels, 0.1, 0)
    assert state["split"] == split.hash
    pixels = torch.stack([eval_transform(32, config)(held[i][0]) for i in split.holdout])
    with torch.no_grad():
        logits = model(pixels)
        assert torch.equal(logits, direct(pixels))
    right = (logits.argmax(1).numpy() == held.labels[split.holdout]).mean()
    recorded = float(results["ema_holdout_top1" if better == "ema" else "holdout_top1"])
    assert 100 * right == pytest.approx(recorded, abs=1e-3)


def test_half_exports_keep_batch_norm_in_float32_and_load_as_float32(options: Options) -> None:
    main(dataclasses.replace(options, half=True, phases=[(1, 24)]))
    folder = Path(options.out) / "exported" / "run"
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    dtypes = {key: tensor.dtype for key, tensor in stored.items()}
    assert dtypes["conv_stem.weight"] == dtypes["classifier.bias"] == torch.float16
    assert {dtypes[key] for key in dtypes if "bn" in key and not key.endswith("tracked")} == {torch.float32}
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_genotype_is_exported_with_its_whole_space(options: Options, tmp_path: Path) -> None:
    from scarlet_models import SearchSpace

    space = SearchSpace.load("mini").to_dict() | {"name": "moved"}
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    main(dataclasses.replace(options, genotype="2,3,1,3,0", space=str(file), phases=[(1, 32)]))
    file.unlink()
    folder = Path(options.out) / "exported" / "run"
    arguments = json.loads((folder / "config.json").read_text())["model_args"]
    assert arguments["genotype"] == "2,3,1,3,0" and arguments["space"]["name"] == "moved"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_killed_at_any_step_and_resumed_is_bit_for_bit_the_same(options: Options, whole: Options) -> None:
    killed = dataclasses.replace(options, checkpoint_minutes=0.0)
    kill_after(_command(killed), killed.out, step=random.randint(1, 7), delay=random.uniform(0, 0.3))
    main(dataclasses.replace(killed, resume=True))
    assert same(newest(killed.out), newest(whole.out))
    assert metrics(killed.out) == metrics(whole.out)
    exports = [Path(run.out) / "exported" / "run" / "model.safetensors" for run in (whole, killed)]
    assert exports[0].read_bytes() == exports[1].read_bytes()


class _Stop(Exception):
    """Stands for a kill, inside this process."""


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    from scarlet_models.training import classification as retrain

    advance = retrain.Training._update

    def update(self: Any, loss: Tensor) -> None:
        if self.step == step:
            raise _Stop
        advance(self, loss)

    monkeypatch.setattr(retrain.Training, "_update", update)


@pytest.mark.parametrize("step", [1, 7])
def test_resuming_from_the_last_epoch_repeats_what_was_lost(
    options: Options, whole: Options, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Stopped inside an epoch with no checkpoint since its start; and metrics.csv ran ahead of the checkpoint."""
    with monkeypatch.context() as patch:
        _stop_at(patch, step)
        with pytest.raises(_Stop):
            main(options)
    if step > 3:
        with (Path(options.out) / "metrics.csv").open("a") as file:
            file.write("999,333,24,0,0,0,0,0,0\n7,")
    main(dataclasses.replace(options, resume=True))
    assert same(newest(options.out), newest(whole.out))
    assert metrics(options.out) == metrics(whole.out)


def test_a_finished_run_resumes_to_score_the_test_split_once(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = dataclasses.replace(options, phases=[(1, 24)])
    main(short)
    assert not (Path(options.out) / "final.json").exists()
    before = newest(options.out)
    main(dataclasses.replace(short, resume=True, final=True))
    final = json.loads((Path(options.out) / "final.json").read_text())
    assert same(newest(options.out), before)

    def never(*_: Any) -> None:
        raise AssertionError("the test split was read again")

    with monkeypatch.context() as patch:
        patch.setattr("scarlet_models.training.classification.score", never)
        main(dataclasses.replace(short, resume=True, final=True))

    capsys.readouterr()
    exported = str(Path(options.out) / "exported" / "run")
    main(dataclasses.replace(short, evaluate=exported, final=True, json=True))
    alone = json.loads(capsys.readouterr().out)
    assert {key: alone[key] for key in ("top1", "top5", "weights_sha256")} == {
        key: final[key] for key in ("top1", "top5", "weights_sha256")
    }
    main(dataclasses.replace(short, evaluate=exported, json=True))
    held = json.loads(capsys.readouterr().out)
    assert held["images"] == 12
    results = metrics(options.out)[-1]
    assert held["top1"] == pytest.approx(max(float(results[k]) for k in ("holdout_top1", "ema_holdout_top1")), abs=1e-3)


def test_accumulated_parts_equal_the_whole_batch(options: Options, tmp_path: Path) -> None:
    """With a network of layer norm, as batch norm sees parts, not the batch."""
    plain = dataclasses.replace(
        options, model="test_convnext", phases=[(1, 32)], drop_rate=0.0, drop_path_rate=0.0, mixup=0.0, clip_grad=1.0
    )
    states = []
    for parts in (1, 4):
        run = dataclasses.replace(plain, out=str(tmp_path / str(parts)), accumulate=parts)
        main(run)
        states.append(newest(run.out)["model"])
    start = timm.create_model("test_convnext", num_classes=3).state_dict()
    for key in states[0]:
        torch.testing.assert_close(states[1][key], states[0][key], rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(states[0][key], start[key]) for key in start)


def test_a_diverging_run_stops_with_its_step_and_its_last_good_checkpoint(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scarlet_models.training.optim.create_scheduler_v2", _explode_after(4))
    with pytest.raises(UserError, match=r"at step [6-9]: training diverged; the last good checkpoint is kept in .*run"):
        main(options)
    kept = newest(options.out)
    assert kept["step"] == 3
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())
    assert all(tensor.isfinite().all() for tensor in kept["ema"].values())


def _explode_after(step: int) -> Any:
    from timm.scheduler import create_scheduler_v2

    def create(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        scheduler, epochs = create_scheduler_v2(optimizer, *args, **kwargs)
        step_update = scheduler.step_update

        def update(done: int) -> None:
            step_update(done)
            if done >= step:
                scheduler.update_groups([1e30] * len(optimizer.param_groups))

        scheduler.step_update = update
        return scheduler, epochs

    return create


def test_two_runs_are_not_mixed(options: Options) -> None:
    short = dataclasses.replace(options, phases=[(1, 24)])
    main(short)
    with pytest.raises(UserError, match="holds a run already: go on with --resume"):
        main(short)
    changed = dataclasses.replace(short, resume=True, lr=0.2, batch_size=16)
    with pytest.raises(UserError, match=r"batch_size was 32, is 16; lr was 0\.05, is 0\.2; .*--allow-drift"):
        main(changed)
    with pytest.raises(UserError, match=r"env\.json differs: threads was 1, is 2"):
        main(dataclasses.replace(short, resume=True, threads=2))
    torch.set_num_threads(1)
    with pytest.raises(UserError, match=r"holds out other images"):
        main(dataclasses.replace(changed, allow_drift=True, split_seed=1))
    main(dataclasses.replace(changed, allow_drift=True, batch_size=32, phases=[(2, 24)]))
    assert [int(row["epoch"]) for row in metrics(options.out)] == [1, 2]


@pytest.mark.parametrize("final", [False, True])
def test_what_is_asked_of_one_start_is_not_asked_of_the_next(options: Options, final: bool) -> None:
    """But what a run began with is: it ends with the same files, however often it was killed."""
    short = dataclasses.replace(options, phases=[(1, 24)], json=True, final=final)
    main(short)
    main(dataclasses.replace(short, resume=True, allow_drift=True, final=True, phases=[(2, 24)]))
    config = Path(options.out) / "config.yaml"
    kept = yaml.safe_load(config.read_text())
    assert kept["phases"] == [[2, 24]]
    assert not any(kept[name] for name in ("resume", "allow_drift", "json")) and kept["final"] is final
    again = ["retrain", "--config", str(config), "--resume"]
    assert cli.main([*again, "--lr", "0.7"]) == 2
    assert cli.main(again) == 0


@pytest.mark.parametrize(
    ("change", "part"),
    [({"model": "test_resnet"}, "model"), ({"ema_decay": 0.9}, "ema"), ({"opt": "adamw", "opt_args": {}}, "optimizer")],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_even_with_drift(
    options: Options, change: dict[str, Any], part: str
) -> None:
    short = dataclasses.replace(options, phases=[(1, 24)], ema_decay=0.0)
    main(short)
    with pytest.raises(UserError, match=f"^the checkpoint does not fit the options: it holds another {part}, or none"):
        main(dataclasses.replace(short, resume=True, allow_drift=True, **change))
    main(dataclasses.replace(short, resume=True))  # what was refused has left no trace


def test_resume_before_the_first_checkpoint_starts_anew(options: Options) -> None:
    main(dataclasses.replace(options, phases=[(1, 24)], resume=True))
    assert newest(options.out)["step"] == 3


def test_training_starts_from_a_file_or_a_folder(
    options: Options, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = dataclasses.replace(options, phases=[(1, 24)], half=True)
    main(first)
    folder = Path(first.out) / "exported" / "run"
    still = dataclasses.replace(first, half=False, lr=1e-12, warmup_lr=1e-12, weight_decay=0.0, ema_decay=0.0)
    for number, weights in enumerate((folder, folder / "model.safetensors")):
        run = dataclasses.replace(still, weights=str(weights), out=str(tmp_path / str(number)))
        main(run)
        after = newest(run.out)["model"]
        for key, tensor in safetensors.torch.load_file(folder / "model.safetensors").items():
            if "running" not in key and "tracked" not in key:
                torch.testing.assert_close(after[key], tensor.float(), rtol=1e-5, atol=1e-6)


def test_a_head_of_other_classes_is_replaced_and_other_networks_are_refused(options: Options, tmp_path: Path) -> None:
    ten = timm.create_model("test_efficientnet", num_classes=10)
    safetensors.torch.save_file(ten.state_dict(), tmp_path / "ten.safetensors")
    run = dataclasses.replace(options, phases=[(1, 24)])
    main(dataclasses.replace(run, weights=str(tmp_path / "ten.safetensors")))
    assert newest(options.out)["model"]["classifier.weight"].shape[0] == 3
    other = timm.create_model("test_resnet", num_classes=3)
    safetensors.torch.save_file(other.state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "ten.safetensors").read_bytes()[:5000])
    for name, message in (("other", "is of another network"), ("torn", "torn.safetensors"), ("none", "no such file")):
        with pytest.raises(UserError, match=message) as caught:
            main(dataclasses.replace(run, weights=str(tmp_path / f"{name}.safetensors"), out=str(tmp_path / name)))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nosuch"}, "Unknown model"),
        ({"opt": "nosuch"}, "cannot make optimizer nosuch"),
        ({"sched": "nosuch"}, "cannot make schedule nosuch"),
        ({"batch_size": 33, "accumulate": 2}, "--batch-size 33 does not divide"),
        ({"batch_size": 1000}, "nothing to train"),
        ({"phases": [], "epochs": 0}, "nothing to train"),
        ({"auto_augment": "nosuch"}, "--auto-augment"),
        ({"interpolation": "nosuch"}, "--interpolation"),
        ({"sched": "multistep"}, "cannot make schedule multistep without decay_milestones"),
        ({"sched": "none"}, "cannot make schedule none"),
        ({"model_args": {"nosuch": 1}}, "nosuch"),
        ({"model_args": {"in_chans": 1}}, "test_efficientnet cannot see such images"),
        ({"model_args": {"features_only": True}, "weights": "nosuch"}, "it does not give each class a score"),
        ({"model": "test_vit"}, "test_vit cannot see such images"),
        ({"weights": "nosuch", "inherit": "nosuch"}, "--weights and --inherit"),
        ({"opt_args": {"nosuch": 1}}, "nosuch"),
        ({"genotype": "1,2", "space": "mini"}, "genotype has 2 entries"),
        ({"genotype": "1,2", "space": "nosuch"}, "no search space"),
        ({"batch_size": 9}, "even number"),
        ({"holdout": 1.5}, "--holdout"),
        ({"name": "../../elsewhere"}, "--name ../../elsewhere: give a name without folders"),
        (
            {"test_split": "test", "evaluate": "nowhere"},
            "nowhere is neither an exported folder",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(options: Options, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(dataclasses.replace(options, **change))
    assert "\n" not in str(caught.value)
    assert not Path(options.out).exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**63),
        ("threads", -1),
        ("workers", -1),
        ("image_size", -3),
        ("phases", [(1, -5)]),
        ("phases", [(-1, 64), (2, 32)]),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("clip_grad", -1.0),
        ("decay_epochs", 0.0),
        ("label_smoothing", 2.0),
        ("drop_rate", 2.0),
        ("drop_path_rate", -1.0),
        ("ema_decay", 2.0),
        ("mixup", -1.0),
        ("color_jitter", -1.0),
        ("crop_pct", -1.0),
        ("crop_scale", (0.5, 2.0)),
        ("crop_scale", (0.8, 0.5)),
        ("crop_scale", (0.0, 0.0)),
        ("crop_ratio", (0.0, 1.0)),
    ],
)
def test_a_number_out_of_range_is_one_line(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^--{name.replace('_', '-')}: .*"):
        Options(**{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "-1"], "--threads: -1 is below 0"),
        (["--opt-args", "{betas:3}"], "is not a mapping such as {a: 1}"),
    ],
)
def test_a_bad_value_on_the_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["retrain", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_without_held_out_images_the_average_is_exported(options: Options) -> None:
    main(dataclasses.replace(options, holdout=0.0, phases=[(1, 24)]))
    assert "holdout_top1" not in metrics(options.out)[0]
    stored = safetensors.torch.load_file(Path(options.out) / "exported" / "run" / "model.safetensors")
    assert same(stored, dict(newest(options.out)["ema"]))


@pytest.mark.parametrize(
    "change", [{"amp": "bf16"}, {"amp": "fp16"}, {"channels_last": True}, {"sched": "step", "opt": "rmsproptf"}]
)
def test_other_ways_to_train(options: Options, change: dict[str, Any]) -> None:
    main(dataclasses.replace(options, opt_args={}, phases=[(1, 24)], **change))
    assert newest(options.out)["step"] == 3


@pytest.mark.slow
def test_two_processes_train_resume_and_equal_one(options: Options, tmp_path: Path) -> None:
    """Killed and resumed bit for bit; and, with layer norm, equal to one process with the whole batch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    plain = dataclasses.replace(
        options, model="test_convnext", phases=[(3, 32)], drop_rate=0.0, drop_path_rate=0.0, mixup=0.0
    )
    runs = {name: dataclasses.replace(plain, out=str(tmp_path / name)) for name in ("one", "two", "killed")}
    main(runs["one"])
    subprocess.run(_command(runs["two"], processes=2), check=True, env=environment, capture_output=True)
    killed = dataclasses.replace(runs["killed"], checkpoint_minutes=0.0)
    kill_after(_command(killed, processes=2), killed.out, step=4)
    subprocess.run(_command(killed, "--resume", processes=2), check=True, env=environment, capture_output=True)
    one, two, resumed = (newest(run.out) for run in runs.values())
    assert same(two, resumed)
    assert metrics(runs["two"].out) == metrics(killed.out)
    for key in one["model"]:
        torch.testing.assert_close(two["model"][key], one["model"][key], rtol=1e-3, atol=1e-5)
    assert one["split"] == two["split"]
    environment_file = json.loads((tmp_path / "two" / "env.json").read_text())
    assert environment_file["world_size"] == 2
    with pytest.raises(UserError, match="world_size was 2, is 1"):
        main(dataclasses.replace(killed, resume=True))


def test_killed_between_the_last_step_and_the_record_of_an_epoch(
    options: Options, whole: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    killed = dataclasses.replace(options, checkpoint_minutes=0.0)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("scarlet_models.training.classification.Training._measure", die)
        main(killed)
    main(dataclasses.replace(killed, resume=True))
    assert same(newest(killed.out), newest(whole.out))
    assert metrics(killed.out) == metrics(whole.out)


@pytest.fixture(scope="module")
def damaged(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images with one in each split that is none."""
    root = tmp_path_factory.mktemp("damaged") / "colours"
    shutil.copytree(images, root)
    for name in ("train/green/7.png", "test/green/7.png"):
        (root / name).write_text("no image")
    return root


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("evaluates", [False, True])
def test_a_image_that_cannot_be_read_is_named(
    options: Options, whole: Options, damaged: Path, workers: int, evaluates: bool
) -> None:
    """timm takes the next one in its place, which the figures would count twice."""
    source = str(Path(whole.out) / "exported" / "run") if evaluates else ""
    bad = dataclasses.replace(options, data_dir=str(damaged), workers=workers, evaluate=source, final=evaluates)
    with pytest.raises(UserError, match=r"^cannot read image .*/green/7\.png: [^\n]*; mend or remove it$"):
        main(bad)


def test_classes_are_compared_by_their_names(
    options: Options, whole: Options, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = dataclasses.replace(options, evaluate=str(Path(whole.out) / "exported" / "run"), final=True, json=True)
    for folder, names in (("renamed", ("azure", "green", "red")), ("numbers", ("0", "1", "2"))):
        for old, new in zip(CLASSES, names, strict=True):
            shutil.copytree(images / "test" / old, tmp_path / folder / "test" / new)
    with pytest.raises(UserError, match="knows other classes, or in another order: 'blue' where the data has 'azure'"):
        main(dataclasses.replace(score, data_dir=str(tmp_path / "renamed")))
    for folder in (images, tmp_path / "numbers"):
        main(dataclasses.replace(score, data_dir=str(folder)))
        assert json.loads(capsys.readouterr().out)["images"] == 30


def test_a_network_is_not_scored_on_images_that_it_was_trained_on(
    options: Options, whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(whole.out) / "exported" / "run"
    other = dataclasses.replace(options, split_seed=1, json=True)
    for prefix in ("", "local-dir:"):
        with pytest.raises(UserError, match=r"run held out other images: give the data, --holdout and --split-seed"):
            main(dataclasses.replace(other, evaluate=f"{prefix}{folder}"))
    starts: list[dict[str, Any]] = [{"weights": str(folder)}, {"weights": f"{folder}/model.safetensors"}]
    starts += [{"inherit": str(folder)}, {"model": f"local-dir:{folder}", "weights": "pretrained", "model_args": {}}]
    for change in starts:
        with pytest.raises(UserError, match=r"may have been trained on images that are held out now: give its own"):
            main(dataclasses.replace(other, **change))
    main(dataclasses.replace(other, evaluate=str(folder), final=True))
    assert "on record" not in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "bare" / "config.json").write_text(json.dumps({**config, "split": "train"}))
    main(dataclasses.replace(other, evaluate=str(tmp_path / "bare")))
    assert "it is not on record which images" in capsys.readouterr().err


def test_a_damaged_folder_and_one_of_greyscale_are_one_line(options: Options, whole: Options, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(Path(whole.out) / "exported" / "run", folder)
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(UserError, match=r"takes images of 1 channels, and those of the data have 3"):
        grey = timm.create_model("test_efficientnet", in_chans=1, num_classes=3)
        saving.save(grey, tmp_path / "grey", {"in_chans": 1}, {"input_size": (1, 32, 32)}, CLASSES)
        main(dataclasses.replace(options, evaluate=str(tmp_path / "grey"), final=True))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    for content in (config, {}):
        (folder / "config.json").write_text(json.dumps(content))
        for change in ({"evaluate": f"local-dir:{folder}"}, {"model": f"local-dir:{folder}", "weights": "pretrained"}):
            with pytest.raises(UserError) as caught:
                main(dataclasses.replace(options, model_args={}, **change))
            assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_without_held_out_images_there_is_nothing_to_score(options: Options, whole: Options) -> None:
    with pytest.raises(UserError, match="--holdout 0 leaves no images to score"):
        main(dataclasses.replace(options, holdout=0.0, evaluate=str(Path(whole.out) / "exported" / "run")))
