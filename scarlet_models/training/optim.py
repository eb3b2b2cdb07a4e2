"""How weights are updated: the batch of a step, its precision, its gradients; timm's optimizers and schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from scarlet_models.errors import UserError, first_line

from .distributed import World
from .options import OptimizerOptions

_DROPS = {"step": "decay_epochs", "multistep": "decay_milestones"}  # schedules and what says when they drop
_LENGTHS = ("decay_epochs", "decay_milestones", "cooldown_epochs", "stable_timescale")  # timm's, in epochs


def automatic_batch_size(images: int, parts: int) -> int:
    """A batch size for a number of images: a power of two from 16 to 256 that gives an epoch 8 updates if it can.

    Args:
        images: Images of an epoch.
        parts: What the batch must divide into.
    """
    size = min(2 ** int(math.log2(min(max(images / 8, 16), 256))), max(images, 1))
    return max(size // parts, 1) * parts


def local_batch(options: OptimizerOptions, processes: int) -> int:
    """Images in one forward pass of one process.

    Raises:
        UserError: The batch cannot be shared out evenly.
    """
    parts = processes * options.accumulate
    if options.accumulate < 1 or options.batch_size < 1 or options.batch_size % parts:
        raise UserError(
            f"--batch-size {options.batch_size} does not divide into {processes} process(es) "
            f"of --accumulate {options.accumulate} equal parts"
        )
    return options.batch_size // parts


def make_optimizer(model: nn.Module, options: OptimizerOptions) -> Optimizer:
    """The optimizer of a model's parameters.

    Raises:
        UserError: timm knows no such optimizer, or it refuses an argument.
    """
    arguments = {"momentum": 0.9, **options.opt_args}
    try:
        return create_optimizer_v2(model, options.opt, lr=options.lr, weight_decay=options.weight_decay, **arguments)
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"cannot make optimizer {options.opt}: {first_line(error)}") from error


def make_scheduler(
    optimizer: Optimizer, name: str, steps: int, warmup_steps: float, steps_per_epoch: int, arguments: Mapping[str, Any]
) -> Scheduler:
    """The schedule of the learning rate, which steps with every update.

    Args:
        optimizer: Its learning rates are set.
        name: timm's name of the schedule.
        steps: Updates of the whole run.
        warmup_steps: Updates of the linear rise at the start; fractions work.
        steps_per_epoch: Updates of an epoch.
        arguments: More of timm's arguments; lengths are in epochs.

    Raises:
        UserError: timm knows no such schedule or argument, or nothing says when the rate drops.
    """
    if name in _DROPS and not arguments.get(_DROPS[name]):
        raise UserError(f"cannot make schedule {name} without {_DROPS[name]} in --sched-args; take cosine")
    try:
        lengths = {key: _times(arguments[key], steps_per_epoch) for key in _LENGTHS if key in arguments}
        scheduler, _ = create_scheduler_v2(
            optimizer,
            name,
            num_epochs=steps,  # timm's epochs are our updates
            warmup_epochs=warmup_steps,  # type: ignore[arg-type]  # annotated int, yet only multiplied
            step_on_epochs=False,
            updates_per_epoch=1,
            **{"warmup_lr": 0.0001, **arguments, **lengths},
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"cannot make schedule {name}: {first_line(error)}") from error
    if scheduler is None:
        raise UserError(f"cannot make schedule {name}: timm has none of that name; take cosine")
    return scheduler


def _times(length: Any, factor: int) -> Any:
    return [part * factor for part in length] if isinstance(length, list | tuple) else length * factor


def autocast(amp: str, device: torch.device) -> torch.autocast:
    """The reduced precision of option amp; none is exact."""
    dtype = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=amp != "none")


def average(model: nn.Module, world: World, *figures: Tensor) -> None:
    """Averages over the ranks, in place, a model's gradients and running statistics, and a step's figures.

    With the statistics, which would drift apart, all ranks have one state: rank 0's checkpoint is everyone's.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    statistics = [b for b in model.buffers() if b.is_floating_point()]
    world.mean_([*gradients, *statistics, *figures])


def apply_gradients(model: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler, clip_grad: float) -> Tensor:
    """Clips, applies and clears the gradients, whatever they are. Returns their norm before clipping, on the device.

    Args:
        model: The model that has them.
        optimizer: Of its parameters.
        scaler: Of the loss; it skips a step whose gradients overflow, and lowers its scale.
        clip_grad: Largest norm; 0 for no limit.
    """
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad or float("inf"))
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm
