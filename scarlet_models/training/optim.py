"""How weights are updated: the batch of a step, its precision, its gradients; timm's optimizers and schedules."""

from __future__ import annotations

from collections.abc import Callable
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
    try:
        return create_optimizer_v2(
            model,
            options.opt,
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            **options.opt_args,
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"cannot make optimizer {options.opt}: {first_line(error)}") from error


def make_scheduler(
    optimizer: Optimizer,
    options: OptimizerOptions,
    epochs: int,
    updates_per_epoch: int,
    warmup_epochs: float,
    **more: Any,
) -> Scheduler:
    """The schedule of the learning rate, which steps with every update.

    Args:
        optimizer: What it sets the learning rate of.
        options: Its name and ends.
        epochs: Its length.
        updates_per_epoch: The unit of the lengths here.
        warmup_epochs: Length of the rise at the start; fractions work, as updates are counted.
        more: Arguments that only some schedules read.

    Raises:
        UserError: timm knows no such schedule, or it refuses an argument; or nothing says when it drops.
    """
    if options.sched in _DROPS and not more.get(_DROPS[options.sched]):
        raise UserError(f"cannot make schedule {options.sched} without {_DROPS[options.sched]}; take cosine")
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            options.sched,
            num_epochs=epochs,
            warmup_epochs=warmup_epochs,  # type: ignore[arg-type]  # annotated int, yet only multiplied
            warmup_lr=options.warmup_lr,
            min_lr=options.min_lr,
            step_on_epochs=False,
            updates_per_epoch=updates_per_epoch,
            **more,
        )
    except (ValueError, AssertionError) as error:
        raise UserError(f"cannot make schedule {options.sched}: {error}") from error
    if scheduler is None:
        raise UserError(f"cannot make schedule {options.sched}: timm has none of that name; take cosine")
    return scheduler


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


def apply_gradients(
    model: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    clip_grad: float,
    loss: Tensor,
    diverged: Callable[[str], UserError],
) -> float:
    """Clips and applies the gradients and clears them. Returns their norm before clipping.

    Args:
        model: What has them.
        optimizer: Of its parameters.
        scaler: Of the loss; it skips a step whose gradients overflow, and lowers its scale.
        clip_grad: Largest norm; 0 for no limit.
        loss: Of the step.
        diverged: Makes the error from what is not finite.

    Raises:
        UserError: The loss or the gradients are not finite; nothing was updated.
    """
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad or float("inf"))
    if not (loss.isfinite() and (norm.isfinite() or scaler.is_enabled())):
        raise diverged(f"loss {loss.item():.4g}, gradient norm {norm.item():.4g}")
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm.item()
