"""scarlet-models train: trains, survives kills bit for bit, scales over processes, and exports what timm loads."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import yaml
from helpers.images import COLOURS, write_colours
from helpers.runs import QUICK, command_line, kill_after, metrics, newest, same
from timm.data import resolve_model_data_config

from scarlet_models import cli
from scarlet_models.commands.train import Options, main
from scarlet_models.errors import UserError
from scarlet_models.training.classification import Classification
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.optim import automatic_batch_size
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.trainer import Trainer
from scarlet_models.training.transforms import eval_transform

COMMAND = "scarlet-models train"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


def _options(images: Path, out: Path) -> Options:
    """Three epochs of three steps in seconds, with everything on that is random or has state."""
    return Options(
        model="test_efficientnet",
        data_dir=str(images),
        out=str(out),
        image_size=[(0, 24), (2, 32)],
        seed=1,
        warmup_epochs=0.5,
        opt_args={"nesterov": True},
        model_args={"drop_rate": 0.2, "drop_path_rate": 0.1},
        ema_decay=0.9,
        mixup=0.2,
        crop_pct=1.0,
        **{**QUICK, "epochs": 3},
    )


@pytest.fixture
def options(images: Path, tmp_path: Path) -> Options:
    return _options(images, tmp_path / "run")


@pytest.fixture
def short(options: Options) -> Options:
    """One epoch."""
    return dataclasses.replace(options, epochs=1, image_size=24)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A run that nothing interrupted."""
    options = _options(images, tmp_path_factory.mktemp("whole") / "run")
    main(options)
    return options


def _exported(options: Options) -> Path:
    return Path(options.out) / "exported" / Path(options.out).name


# What a run leaves behind


def test_a_run_leaves_everything_in_its_folder(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [(0, 24), (5, 32)]
    main(dataclasses.replace(options, json=True, mixup=0.0, lr=0.1, epochs=6, image_size=sizes))
    report = json.loads(capsys.readouterr().out)
    run = Path(options.out)
    assert report["exported"] == str(_exported(options))
    assert yaml.safe_load((run / "config.yaml").read_text())["image_size"] == [[0, 24], [5, 32]]
    environment = json.loads((run / "env.json").read_text())
    assert environment["torch"] == torch.__version__.split("+")[0] or environment["torch"] == torch.__version__
    assert (environment["threads"], environment["workers"], environment["world_size"]) == (1, 0, 1)
    assert environment["command"] == COMMAND
    assert list((run / "events").glob("events.out.tfevents.*"))

    rows = metrics(options.out)
    assert [int(row["epoch"]) for row in rows] == list(range(1, 7))
    assert [int(row["step"]) for row in rows] == list(range(3, 19, 3))
    assert [int(row["image_size"]) for row in rows] == [24] * 5 + [32]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    best = max(float(rows[-1]["holdout_top1"]), float(rows[-1]["ema_holdout_top1"]))
    assert best >= 75, "colours are easy"
    assert report["holdout_top1"] == float(rows[-1]["holdout_top1"])


def test_the_export_is_the_best_network_and_loads_through_timm(whole: Options, images: Path) -> None:
    folder = _exported(whole)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "trained_images.npy"}
    assert "drop_rate" not in json.loads((folder / "config.json").read_text()).get("model_args", {}), "of training"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = resolve_model_data_config(model)
    assert tuple(config["input_size"]) == (3, 32, 32) and config["crop_pct"] == 1.0
    assert model.num_classes == 3 and model.pretrained_cfg["label_names"] == list(COLOURS)

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


def test_without_held_out_images_the_average_is_exported(short: Options) -> None:
    main(dataclasses.replace(short, holdout=0.0))
    assert "holdout_top1" not in metrics(short.out)[0]
    stored = safetensors.torch.load_file(_exported(short) / "model.safetensors")
    assert same(stored, dict(newest(short.out)["ema"]))


def test_the_batch_fits_a_small_folder_and_the_learning_rate_the_batch(short: Options) -> None:
    main(dataclasses.replace(short, batch_size=0, lr=0.0, warmup_epochs=0.0))
    config = yaml.safe_load((Path(short.out) / "config.yaml").read_text())
    assert (config["batch_size"], config["lr"]) == (16, pytest.approx(0.1 * 16 / 256))
    assert int(metrics(short.out)[-1]["step"]) == 108 // 16
    main(dataclasses.replace(short, batch_size=0, lr=0.0, warmup_epochs=0.0, resume=True))
    tuned = dataclasses.replace(short, model=str(_exported(short)), out=f"{short.out}2", batch_size=0, lr=0.0)
    main(tuned)
    assert yaml.safe_load((Path(tuned.out) / "config.yaml").read_text())["lr"] == pytest.approx(0.08 * 16 / 256)


@pytest.mark.parametrize(
    ("images", "parts", "size"), [(50_000, 1, 256), (5000, 1, 128), (1000, 1, 16), (90, 6, 12), (5, 1, 5), (2, 4, 4)]
)
def test_automatic_batch_sizes(images: int, parts: int, size: int) -> None:
    assert automatic_batch_size(images, parts) == size


# Going on after an interruption


def test_killed_at_any_step_and_resumed_is_bit_for_bit_the_same(options: Options, whole: Options) -> None:
    killed = dataclasses.replace(options, checkpoint_minutes=0.0)
    kill_after(command_line(COMMAND, killed), killed.out, step=random.randint(1, 7), delay=random.uniform(0, 0.3))
    main(dataclasses.replace(killed, resume=True))
    assert same(newest(killed.out), newest(whole.out))
    assert metrics(killed.out) == metrics(whole.out)
    exports = [_exported(run) / "model.safetensors" for run in (whole, killed)]
    assert exports[0].read_bytes() == exports[1].read_bytes()


class _Stop(Exception):
    """Stands for a kill, inside this process."""


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    train_step = Trainer.train_step

    def stop(self: Trainer, parts: Any) -> None:
        if self.step == step:
            raise _Stop
        train_step(self, parts)

    monkeypatch.setattr(Trainer, "train_step", stop)


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


def test_killed_between_the_last_step_and_the_record_of_an_epoch(
    options: Options, whole: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    killed = dataclasses.replace(options, checkpoint_minutes=0.0)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Classification, "measure", die)
        main(killed)
    main(dataclasses.replace(killed, resume=True))
    assert same(newest(killed.out), newest(whole.out))
    assert metrics(killed.out) == metrics(whole.out)


def test_resume_before_the_first_checkpoint_starts_anew(short: Options) -> None:
    main(dataclasses.replace(short, resume=True))
    assert newest(short.out)["step"] == 3


def test_two_runs_are_not_mixed(short: Options) -> None:
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
    main(dataclasses.replace(changed, allow_drift=True, batch_size=32, epochs=2))
    assert [int(row["epoch"]) for row in metrics(short.out)] == [1, 2]


def test_what_is_asked_of_one_start_is_not_asked_of_the_next(short: Options) -> None:
    main(dataclasses.replace(short, json=True))
    main(dataclasses.replace(short, resume=True, allow_drift=True, epochs=2))
    config = Path(short.out) / "config.yaml"
    kept = yaml.safe_load(config.read_text())
    assert kept["epochs"] == 2
    assert not any(kept[name] for name in ("resume", "allow_drift", "json"))
    again = ["train", "--config", str(config), "--resume"]
    assert cli.main([*again, "--lr", "0.7"]) == 2
    assert cli.main(again) == 0


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model": "test_resnet", "model_args": {}}, "model"),
        ({"ema_decay": 0.9}, "ema"),
        ({"opt": "adamw", "opt_args": {}}, "optimizer"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_even_with_drift(
    short: Options, change: dict[str, Any], part: str
) -> None:
    short = dataclasses.replace(short, ema_decay=0.0)
    main(short)
    with pytest.raises(UserError, match=f"^the checkpoint does not fit the options: it holds another {part}, or none"):
        main(dataclasses.replace(short, resume=True, allow_drift=True, **change))
    main(dataclasses.replace(short, resume=True))  # what was refused has left no trace


# Updates


def test_accumulated_parts_equal_the_whole_batch(short: Options, tmp_path: Path) -> None:
    """With a network of layer norm, as batch norm sees parts, not the batch."""
    plain = dataclasses.replace(short, model="test_convnext", image_size=32, model_args={}, mixup=0.0, clip_grad=1.0)
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


@pytest.mark.parametrize(
    "change",
    [
        {"amp": "bf16"},
        {"amp": "fp16"},
        {"sched": "step", "sched_args": {"decay_epochs": 2.4, "decay_rate": 0.97}, "opt": "rmsproptf"},
        {"sched": "multistep", "sched_args": {"decay_milestones": [1, 2]}},
        {"auto_augment": "rand-m9-mstd0.5", "cutmix": 1.0},
    ],
)
def test_other_ways_to_train(short: Options, change: dict[str, Any]) -> None:
    main(dataclasses.replace(short, opt_args={}, **change))
    assert newest(short.out)["step"] == 3


@pytest.mark.slow
def test_two_processes_train_resume_and_equal_one(options: Options, tmp_path: Path) -> None:
    """Killed and resumed bit for bit; and, with layer norm, equal to one process with the whole batch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    plain = dataclasses.replace(options, model="test_convnext", image_size=32, model_args={}, mixup=0.0)
    runs = {name: dataclasses.replace(plain, out=str(tmp_path / name)) for name in ("one", "two", "killed")}
    main(runs["one"])
    two_processes = command_line(COMMAND, runs["two"], processes=2)
    subprocess.run(two_processes, check=True, env=environment, capture_output=True)
    killed = dataclasses.replace(runs["killed"], checkpoint_minutes=0.0)
    kill_after(command_line(COMMAND, killed, processes=2), killed.out, step=4)
    again = command_line(COMMAND, killed, "--resume", processes=2)
    subprocess.run(again, check=True, env=environment, capture_output=True)
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


# What a network starts from


def _still(options: Options, **change: Any) -> Options:
    """One epoch that hardly changes a weight."""
    nothing = {"lr": 1e-12, "sched_args": {"warmup_lr": 1e-12}, "weight_decay": 0.0, "ema_decay": 0.0, "mixup": 0.0}
    return dataclasses.replace(options, epochs=1, image_size=24, **nothing, **change)


def _origin(options: Options, capsys: pytest.CaptureFixture[str]) -> str:
    """Trains, and returns the line that says what from, without its time."""
    capsys.readouterr()
    main(options)
    printed = capsys.readouterr()
    assert printed.out == f"next: scarlet-models classify IMAGES --model {_exported(options)}\n"
    noise = "Found preferred"  # timm 1.0.27 tells the root logger
    ours = [line for line in printed.err.splitlines() if noise not in line]
    return ours[1].partition(" ")[2]


def _assert_starts_from(options: Options, tensors: dict[str, torch.Tensor], but: str = "nothing") -> None:
    after = newest(options.out)["model"]
    for key, tensor in tensors.items():
        if "running" not in key and "tracked" not in key and but not in key:
            torch.testing.assert_close(after[key], tensor.float(), rtol=1e-5, atol=1e-6)


def test_a_folder_starts_from_its_weights(whole: Options, options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    run = _still(options, model=str(_exported(whole)))
    assert _origin(run, capsys) == f"local-dir:{_exported(whole)} starts from its own weights"
    _assert_starts_from(run, safetensors.torch.load_file(_exported(whole) / "model.safetensors"))
    timm.create_model(f"local-dir:{_exported(run)}", pretrained=True)


def test_a_tag_starts_from_its_weights_and_a_plain_name_from_random_ones(
    options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = timm.create_model("scarlet_c.tiny_in", pretrained=True).state_dict()
    origins = {
        "tag": ({"model": "scarlet_c.tiny_in"}, "its own weights, with a new classifier for 3 classes"),
        "default": (
            {"model": "scarlet_c", "pretrained": True},
            "its own weights, with a new classifier for 3 classes",
        ),
        "plain": ({"model": "scarlet_c"}, "random weights"),
    }
    for name, (change, origin) in origins.items():
        run = _still(options, **change, model_args={}, out=str(tmp_path / name))
        assert _origin(run, capsys) == f"{run.model} starts from {origin}"
        if name == "plain":
            assert not torch.allclose(newest(run.out)["model"]["conv_stem.weight"], weights["conv_stem.weight"])
        else:
            _assert_starts_from(run, weights, but="classifier")


def test_a_network_inherits_from_another_of_its_space(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    run = _still(options, model="scarlet_c", inherit="scarlet_a.tiny_in", model_args={})
    assert _origin(run, capsys) == "scarlet_c starts from the weights of scarlet_a.tiny_in, layer by layer"
    donor = timm.create_model("scarlet_a.tiny_in", pretrained=True).state_dict()
    _assert_starts_from(run, {"conv_stem.weight": donor["conv_stem.weight"]})


def test_other_weights_are_refused(short: Options, whole: Options, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(_exported(whole), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    for content in (config, {**config, "architecture": "test_resnet"}, {}):
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(UserError) as caught:
            main(dataclasses.replace(short, model=str(folder), model_args={}))
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
        assert not Path(short.out).exists()


def test_a_network_is_not_trained_on_what_it_held_out_before(short: Options, whole: Options) -> None:
    folder = str(_exported(whole))
    for change in ({"model": folder}, {"model": f"local-dir:{folder}"}, {"inherit": folder}):
        with pytest.raises(UserError, match=r"may have been trained on images that are held out now: give its own"):
            main(dataclasses.replace(short, split_seed=1, **change))


# Mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nosuch"}, "no network 'nosuch'"),
        ({"opt": "nosuch"}, "cannot make optimizer nosuch"),
        ({"opt": "fusedadam", "opt_args": {}}, "cannot make optimizer fusedadam"),  # of apex
        ({"sched": "nosuch"}, "cannot make schedule nosuch"),
        ({"batch_size": 33, "accumulate": 2}, "--batch-size 33 does not divide"),
        ({"batch_size": 1000}, "nothing to train"),
        ({"image_size": 24, "epochs": 0}, "nothing to train"),
        ({"image_size": [(1, 24), (2, 32)]}, r"--image-size: epochs \[1, 2\] do not ascend from 0"),
        ({"auto_augment": "nosuch"}, "--auto-augment"),
        ({"model_args": {"pretrained_cfg_overlay": {"interpolation": "nosuch"}}}, "interpolation 'nosuch' is unknown"),
        ({"sched": "multistep"}, "cannot make schedule multistep without decay_milestones"),
        ({"sched": "step", "sched_args": {"decay_epochs": 0.0}}, "cannot make schedule step without decay_epochs"),
        ({"sched": "none"}, "cannot make schedule none"),
        ({"sched": "plateau"}, "cannot make schedule plateau: Plateau LR only supports"),
        ({"sched_args": {"nosuch": 1}}, "nosuch"),
        ({"model_args": {"nosuch": 1}}, "nosuch"),
        ({"model_args": {"num_classes": 10}}, "--model-args: leave num_classes out: it follows from the network"),
        ({"model_args": {"drop_rate": 0.1, "pretrained": True}}, "--model-args: leave pretrained out"),
        ({"model_args": {"name": "scarlet_a"}}, "--model-args: leave name out"),
        ({"model_args": {"in_chans": 1}}, "test_efficientnet cannot see such images"),
        ({"model_args": {"features_only": True}}, "it does not give each class a score"),
        ({"model": "test_vit"}, "test_vit cannot see such images"),
        (
            {"model": "scarlet_a.tiny_in", "inherit": "nosuch"},
            "scarlet_a.tiny_in has weights of its own: leave --inherit out",
        ),
        ({"opt_args": {"nosuch": 1}}, "nosuch"),
        ({"batch_size": 9}, "even number"),
        ({"holdout": 1.5}, "--holdout"),
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
        ("image_size", [(0, -5)]),
        ("image_size", [(-1, 64), (2, 32)]),
        ("batch_size", -1),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("clip_grad", -1.0),
        ("label_smoothing", 2.0),
        ("ema_decay", 2.0),
        ("mixup", -1.0),
        ("color_jitter", -1.0),
        ("crop_pct", -1.0),
        ("crop", (0.5, 2.0)),
        ("crop", (0.8, 0.5)),
        ("crop", (0.0, 0.0)),
    ],
)
def test_a_number_out_of_range_is_one_line(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^--{name.replace('_', '-')}: .*"):
        Options(**{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "-1"], "--threads: -1 is below 0"),
        (["--opt-args", "{betas:3}"], "is not"),
        (["--crop", "nosuch"], "--crop: 'nosuch' is not"),
    ],
)
def test_a_bad_value_on_the_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_images_that_cannot_be_read_are_named_before_the_first_step(
    options: Options, images: Path, tmp_path: Path
) -> None:
    """timm takes the next one in its place, which the figures would count twice."""
    shutil.copytree(images, tmp_path / "colours")
    (tmp_path / "colours/train/green/7.png").write_text("no image")
    bad = dataclasses.replace(options, data_dir=str(tmp_path / "colours"))
    with pytest.raises(
        UserError, match=r"1 of 120 images cannot be read: green/7\.png \(not an image[^\n]*--skip-broken$"
    ):
        main(bad)
    assert not Path(bad.out).exists()


def test_a_run_goes_on_with_the_images_that_it_began_with(short: Options, images: Path, tmp_path: Path) -> None:
    """An image that is gone, one that is new and a class that was written over are named, whatever the drift."""
    root = tmp_path / "colours"
    shutil.copytree(images, root)
    run = dataclasses.replace(short, data_dir=str(root))
    main(run)
    shutil.move(root / "train/blue/3.png", root / "train/blue/300.png")
    for path in (root / "train" / "red").glob("*.png"):
        shutil.copy(root / "test" / "red" / "0.png", path)
    changes = r"1 are gone \(blue/3\.png\), 1 are new \(blue/300\.png\), 40 have changed \(red/0\.png, \.\.\.\)"
    with pytest.raises(UserError, match=f"was trained on other images: {changes}; restore them, or start another run$"):
        main(dataclasses.replace(run, resume=True, allow_drift=True, epochs=2))


def test_a_network_goes_on_where_its_training_images_are_not_held_out(
    short: Options, images: Path, tmp_path: Path
) -> None:
    """Also with another image: the images are compared one by one."""
    root = tmp_path / "colours"
    shutil.copytree(images, root)
    first = dataclasses.replace(short, data_dir=str(root))
    main(first)
    shutil.copy(root / "test" / "red" / "0.png", root / "train" / "red" / "new.png")
    folder = next(Path(first.out).glob("exported/*"))
    again = dataclasses.replace(first, model=str(folder), out=str(tmp_path / "again"))
    with pytest.raises(UserError, match=r"was trained on \d+ of these 12 images, .* for one: give the data"):
        main(dataclasses.replace(again, split_seed=1))
    main(dataclasses.replace(again, holdout=0.0))
