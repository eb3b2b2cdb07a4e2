"""Knowledge distillation: a network also learns the scores that a trained one, its teacher, gives to the images."""

from typing import Any, NamedTuple

import torch
from timm.task import DistillationTeacher, LogitDistillationTask
from torch import Tensor, nn

from .device import to_device


class Distillation(NamedTuple):
    """Who teaches, and how much that counts."""

    teacher: str  # an exported folder, or the name of a network that has weights
    alpha: float  # as TrainOptions has it
    temperature: float

    def task(self, student: Any, teacher: Any, criterion: nn.Module, device: torch.device) -> LogitDistillationTask:
        """A module that gives "loss" and "output" of (images, targets); the teacher stays in eval mode."""
        teacher = _Teacher(to_device(teacher, device), student, device)
        weights: dict[str, Any] = {"task_loss_weight": 1 - self.alpha, "distill_loss_weight": self.alpha}
        options: dict[str, Any] = {"temperature": self.temperature, "device": device, "verbose": False}
        return LogitDistillationTask(student, teacher, criterion=criterion, **weights, **options)


class _Teacher(DistillationTeacher):
    """timm's, which compares the two normalisations anew in each step, on the device, and waits for the answer."""

    mean_kd: Tensor
    std_kd: Tensor

    def __init__(self, model: Any, student: Any, device: torch.device) -> None:
        super().__init__(model, device=device)
        own, others = ([list(each.pretrained_cfg[key]) for key in ("mean", "std")] for each in (model, student))
        self.same = own == others

    def normalize_input(self, input: Tensor, student_mean: Any = None, student_std: Any = None) -> Tensor:
        """The student's images as the teacher's weights want them normalised."""
        return input if self.same else (input * student_std + student_mean - self.mean_kd) / self.std_kd
