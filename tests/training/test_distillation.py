"""Distillation: the loss, the teacher's own normalisation, and what a teacher must know."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.images import COLOURS, write_colours
from helpers.runs import QUICK, NothingRead, metrics, newest, same
from torch.nn import functional as F

from scarlet_models.commands.train import Options, main
from scarlet_models.errors import UserError
from scarlet_models.training.classification import Classification, Start
from scarlet_models.training.distillation import Distillation
from scarlet_models.training.distributed import World
from scarlet_models.training.trainer import Trainer
from scarlet_models.weights import save as saving

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


def _save(folder: Path, classes: tuple[str, ...] = COLOURS, name: str = "test_efficientnet", **cfg: Any) -> Path:
    """A network with weights of its own for images of 24 px."""
    torch.manual_seed(7)
    model = timm.create_model(name, num_classes=len(classes))
    with torch.no_grad():
        model.get_classifier().weight.mul_(30)  # a teacher that is sure
    saving.save(model, folder, None, {"input_size": (3, 24, 24), **cfg}, classes)
    return folder


@pytest.fixture
def options(images: Path, tmp_path: Path) -> Options:
    return Options(
        model="test_efficientnet",
        data_dir=str(images),
        out=str(tmp_path / "run"),
        teacher=str(_save(tmp_path / "teacher")),
        image_size=24,
        ema_decay=0.0,
        **QUICK,
    )


def _task(options: Options) -> Classification:
    lesson = Distillation(options.teacher, options.distill_alpha, options.distill_temperature)
    return Classification(options, Start(options.model), ALONE, lesson)


def test_the_loss_mixes_the_labels_and_the_scores_of_the_teacher(options: Options, tmp_path: Path) -> None:
    """The student's images are normalised by ImageNet's figures, the teacher wants others."""
    _save(tmp_path / "other", mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    for teacher, alpha, temperature in (("teacher", 0.5, 2.0), ("other", 0.3, 4.0), ("other", 1.0, 1.0)):
        changed = {"teacher": str(tmp_path / teacher), "distill_alpha": alpha, "distill_temperature": temperature}
        task = _task(dataclasses.replace(options, **changed))
        task.model.eval()
        batch = torch.randn(4, 3, 24, 24), torch.tensor([0, 1, 2, 1])
        loss = task.add_gradients(batch, lambda value: value)["loss"]

        known = timm.create_model(f"local-dir:{tmp_path / teacher}", pretrained=True).eval()
        own, theirs = (
            [torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std")]
            for cfg in (task.data_config, known.pretrained_cfg)
        )
        with torch.no_grad():
            scores = known((batch[0] * own[1] + own[0] - theirs[0]) / theirs[1])
            logits = task.model(batch[0])
        soft = F.kl_div((logits / temperature).log_softmax(1), (scores / temperature).softmax(1), reduction="batchmean")
        hard = F.cross_entropy(logits, batch[1], label_smoothing=0.1)
        torch.testing.assert_close(loss, (1 - alpha) * hard + alpha * temperature**2 * soft, rtol=1e-4, atol=1e-5)


def test_the_teacher_never_learns_and_nothing_is_read_back(options: Options) -> None:
    task = _task(options)
    trainer = Trainer(task, "test")
    task.model.train()
    teacher = task.learner.get_submodule("teacher.model")
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    parts = iter(list(trainer.load(0, 0, 2)))
    trainer.train_step(parts)
    with NothingRead():
        trainer.train_step(parts)
    trainer.read()
    assert not teacher.training and task.model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())
    assert not any("teacher" in key for key in task.model.state_dict())


def test_a_network_comes_closer_to_its_teacher(options: Options, images: Path, tmp_path: Path) -> None:
    """Without labels: what it learns can only come from the teacher."""
    alone = dataclasses.replace(options, distill_alpha=1.0, epochs=6, lr=0.1, warmup_epochs=0.0, label_smoothing=0.0)
    main(alone)
    losses = [float(row["train_loss"]) for row in metrics(alone.out)]
    assert losses[-1] < 0.6 * losses[0]


def test_it_resumes_with_the_same_teacher_only(options: Options, tmp_path: Path) -> None:
    long = dataclasses.replace(options, epochs=2, mixup=0.2)
    main(long)
    part = dataclasses.replace(long, out=str(tmp_path / "part"))
    shutil.copytree(long.out, part.out)
    newest_file = max((Path(part.out) / "checkpoints").glob("*.pt"))
    newest_file.unlink()
    main(dataclasses.replace(part, resume=True))
    assert same(newest(part.out), newest(long.out))
    torch.manual_seed(1)
    _save(tmp_path / "teacher", name="test_resnet")
    with pytest.raises(UserError, match="learnt from another teacher: restore its --teacher"):
        main(dataclasses.replace(part, resume=True, epochs=3, allow_drift=True))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("nosuch", "nosuch is neither an exported folder nor a network with weights"),
        ("scarlet_a.tiny_in", "scarlet_a.tiny_in knows 200 classes, the data has 3"),
        ("renamed", "knows other classes, or in another order: 'azure' where the data has 'blue'"),
        ("large", "large cannot see such images"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(options: Options, tmp_path: Path, teacher: str, message: str) -> None:
    _save(tmp_path / "renamed", ("azure", "green", "red"))
    _save(tmp_path / "large", name="test_vit")
    folder = tmp_path / teacher
    with pytest.raises(UserError, match=message) as caught:
        main(dataclasses.replace(options, teacher=str(folder) if folder.is_dir() else teacher))
    assert "\n" not in str(caught.value) and not Path(options.out).exists()
