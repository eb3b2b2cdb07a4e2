"""What a training is about: its data, its gradients, its figures. `Trainer` does the rest, the same for all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from scarlet_models.errors import UserError

from .distributed import World
from .optim import local_batch
from .run_folder import RunFolder

Scale = Callable[[Tensor], Tensor]


class Task(ABC):
    """A network with its images, and how it learns from them.

    A task is built before its run's folder is opened, so that a mistake in its options leaves nothing behind. Its
    `__init__` sets `model` and calls `plan`.

    Attributes:
        options: Of the run, resolved: what config.yaml will hold.
        world: The processes that train together.
        model: What is trained, on its device.
        parts: By name, what else has `state_dict` and `load_state_dict` and belongs into a checkpoint.
        kept: By name, plain data and tensors that belong into a checkpoint: sums of figures, and the like.
        fixed: By name, what must not change on resume, not even with --allow-drift, and what to do if it did.
        collate: Makes a batch of the data set's items; None stacks them.
    """

    model: nn.Module
    collate: Callable[[list[Any]], Any] | None = None

    def __init__(self, options: Any, world: World) -> None:
        self.options, self.world = options, world
        self.parts: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.fixed: dict[str, tuple[Any, str]] = {}

    def plan(self, indices: Sequence[int], epochs: int, steps: int = 0) -> None:
        """Sets how many steps there are: passes over the images of these indices, or a number of steps if not 0.

        A UserError says that there is nothing to train, or that a batch cannot be shared out evenly.
        """
        options = self.options
        self.indices, self.local_batch = indices, local_batch(options, self.world.size)
        self.steps_per_epoch = len(indices) // options.batch_size
        self.steps = (steps or epochs * self.steps_per_epoch) if self.steps_per_epoch else 0
        if not self.steps:
            raise UserError(
                f"nothing to train: {steps or epochs} {'steps' if steps else 'epochs'} of {len(indices)} images in "
                f"batches of {options.batch_size}; change --epochs or --batch-size"
            )
        self.epochs = -(-self.steps // self.steps_per_epoch)
        self.warmup_steps: float = options.warmup_epochs * self.steps_per_epoch

    @abstractmethod
    def dataset(self, epoch: int) -> Dataset[Any]:
        """The images of an epoch, each a pure function of (seed, epoch, index)."""

    @abstractmethod
    def add_gradients(self, batch: Any, scale: Scale) -> dict[str, Tensor]:
        """Adds the gradients of a part of a batch, on the CPU, to those of the parts before it.

        Args:
            batch: The part.
            scale: loss -> what to differentiate in its place.

        Returns:
            Figures on the device, never read here: "loss", a scalar or a vector, and others. The trainer sums them over
            the parts and averages the sums over the ranks; a mean is therefore divided by `options.accumulate`.
        """

    @abstractmethod
    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        """Adds up a step's figures, on the CPU by now, in the order of steps. Returns a row for metrics.csv, or {}."""

    @abstractmethod
    def measure(self, epoch: int) -> dict[str, float]:
        """Figures at the end of an epoch (counted from 0) or of the run, for metrics.csv."""

    def describe_loss(self, loss: Tensor) -> str:
        """A loss that is not finite, in words."""
        return f"loss {loss.mean().item():.4g}"

    # What some tasks do besides

    def open(self, folder: RunFolder, step: int) -> None:
        """Called once the run's folder is open and the state of a step restored."""
        return

    def begin_step(self) -> None:
        """Called before the first part of each step."""
        return

    def try_step(self, batch: Any) -> None:
        """Adds the gradients of a part of a batch and leaves no other trace in the task: for timing."""
        self.add_gradients(batch, lambda loss: loss)

    def finish_gradients(self) -> None:
        """Called once all gradients of a step are there, before they are clipped."""
        return

    def end_step(self, step: int) -> None:
        """Called after the update; `step` counts from 1."""
        return


def move(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images, in the layout that convolutions like, and labels on the device."""
    images, labels = batch
    moved = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    return moved, labels.to(device, non_blocking=True)
