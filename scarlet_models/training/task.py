"""What a training is about: its data, its gradients, its figures. `Trainer` does the rest, the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from .distributed import World
from .run_folder import RunFolder

Scale = Callable[[Tensor], Tensor]


class Task(ABC):
    """A network with its images, and how it learns from them.

    A task is built before its run's folder is opened, so that a mistake in its options leaves nothing behind.

    Attributes:
        options: Of the run, resolved: what config.yaml will hold.
        world: The processes that train together.
        model: What is trained, on its device.
        indices: Indices of the images to train on, the same on all ranks.
        local_batch: Images of a part: of one forward pass of one process.
        steps_per_epoch: Updates of a pass over the images.
        steps: Updates of the whole run.
        epochs: How many passes that are; the last may be cut short.
        sched: timm's name of the learning rate's schedule.
        sched_args: Its arguments, lengths in epochs.
        warmup_steps: Updates in which the learning rate rises.
        collate: Makes a batch of the data set's items; None stacks them.
        FIXED: Entry of `fixed` -> what to restore if it is not what the run began with.
    """

    options: Any
    world: World
    model: nn.Module
    indices: Sequence[int]
    local_batch: int
    steps_per_epoch: int
    steps: int
    epochs: int
    sched: str = "cosine"
    sched_args: Mapping[str, Any] = {}
    warmup_steps: float
    collate: Callable[[list[Any]], Any] | None = None
    FIXED: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def dataset(self, epoch: int) -> Dataset[Any]:
        """The images of an epoch, each a pure function of (seed, epoch, index)."""

    def open(self, folder: RunFolder, step: int) -> None:
        """Called once the run's folder is open and the state of a step restored."""
        return

    def begin_step(self) -> None:
        """Called before the first part of each step."""
        return

    @abstractmethod
    def add_gradients(self, batch: Any, scale: Scale) -> dict[str, Tensor]:
        """Adds the gradients of a part to those of the parts before it.

        Args:
            batch: Of one part, on the CPU.
            scale: loss -> what to differentiate in its place.

        Returns:
            Figures on the device, never read here: "loss", a scalar or a vector, and others. The trainer sums them over
            the parts and averages the sums over the ranks; a mean is therefore divided by `options.accumulate`.
        """

    def finish_gradients(self) -> None:
        """Called once all gradients of a step are there, before they are clipped."""
        return

    def end_step(self, step: int) -> None:
        """Called after the update; `step` counts from 1."""
        return

    @abstractmethod
    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        """Adds up the figures of a step, on the CPU by now, in the order of steps.

        Returns:
            A row for metrics.csv; empty where only epochs have rows.
        """

    @abstractmethod
    def measure(self, epoch: int) -> dict[str, float]:
        """Figures at the end of an epoch (counted from 0) or of the run, for metrics.csv."""

    def describe_loss(self, loss: Tensor) -> str:
        """A loss that is not finite, in words."""
        return f"loss {loss.mean().item():.4g}"

    def parts(self) -> dict[str, Any]:
        """By name, what else has `state_dict` and `load_state_dict` and belongs into a checkpoint beside the model."""
        return {}

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain data and tensors for a checkpoint besides: figures that `take_in` has added up, and the like."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""

    def fixed(self) -> dict[str, Any]:
        """What must not change on resume, not even with --allow-drift; the keys are those of `FIXED`."""
        return {}
