"""How weights are updated: the batch of a step, its precision, its gradients; timm's optimizers and schedules."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from scarlet_models.documents import read_yaml
from scarlet_models.errors import UserError, as_user_error

from .options import OptimizerOptions

_logger = logging.getLogger(__name__)

_WORTH_A_TRIAL, _LEAST_GAIN = 500, 1.05  # steps of a run; how much faster bf16 must be
_DROPS = {"step": "decay_epochs", "multistep": "decay_milestones"}  # schedules and what says when they drop
_LENGTHS = ("decay_epochs", "decay_milestones", "cooldown_epochs", "stable_timescale")  # timm's, in epochs


def automatic_batch_size(images: int, parts: int) -> int:
    """A batch size that divides into `parts`: a power of two from 16 to 256, with 32 updates an epoch if it can."""
    size = min(2 ** int(math.log2(min(max(images / 32, 16), 256))), max(images, 1))
    return max(size // parts, 1) * parts


def local_batch(options: OptimizerOptions, processes: int) -> int:
    """Images in one forward pass of one process; a UserError says that the batch cannot be shared out evenly."""
    parts = processes * options.accumulate
    if options.batch_size % parts:
        raise UserError(
            f"--batch-size {options.batch_size} does not divide into {processes} process(es) "
            f"of --accumulate {options.accumulate} equal parts"
        )
    return options.batch_size // parts


def make_optimizer(model: nn.Module, options: OptimizerOptions) -> Optimizer:
    """timm's optimizer of a model's parameters; a UserError says that there is none, or what it refuses."""
    arguments = {"momentum": 0.9, **options.opt_args}
    with as_user_error(f"cannot make optimizer {options.opt}", ValueError, TypeError, AssertionError, ImportError):
        return create_optimizer_v2(model, options.opt, lr=options.lr, weight_decay=options.weight_decay, **arguments)


def make_scheduler(optimizer: Optimizer, task: Any) -> Scheduler:
    """timm's schedule of the learning rate for the steps and options of a `Task`; a UserError says what it refuses."""
    options = vars(task.options)
    name, arguments = options.get("sched", "cosine"), options.get("sched_args", {})  # a supernet has neither option
    if name in _DROPS and not arguments.get(_DROPS[name]):
        raise UserError(f"cannot make schedule {name} without {_DROPS[name]} in --sched-args; take cosine")
    with as_user_error(f"cannot make schedule {name}", ValueError, TypeError, AssertionError):
        lengths = {key: np.array(arguments[key]) * task.steps_per_epoch for key in _LENGTHS if key in arguments}
        scheduler, _ = create_scheduler_v2(
            optimizer,
            name,
            num_epochs=task.steps,  # timm's epochs are our updates
            warmup_epochs=task.warmup_steps,
            step_on_epochs=False,
            updates_per_epoch=1,
            **{"warmup_lr": 0.0001, **arguments, **{key: length.tolist() for key, length in lengths.items()}},
        )
    if scheduler is None:
        raise UserError(f"cannot make schedule {name}: timm has none of that name; take cosine")
    return scheduler


def autocast(amp: str, device: torch.device) -> torch.autocast:
    """The reduced precision of option amp; none and auto, which is not settled yet, are exact."""
    dtype = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=amp in ("bf16", "fp16"))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16: NVIDIA's since Ampere, CPUs with avx512_bf16 or amx_bf16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = [getattr(torch.cpu, f"_is_{name}_supported", bool) for name in ("avx512_bf16", "amx_tile")]
    return device.type == "cpu" and any(flag() for flag in flags)


def choose_precision(task: Any, load: Callable[[], Any]) -> str:
    """The precision of --amp auto: bf16 where it pays, otherwise none. A run that resumes keeps its own.

    A GPU takes bf16 if it has instructions for it. A CPU that has them does a step of the `Task` each way with a part
    of a batch from `load`, and takes bf16 if that is faster by 5%; runs of less than 500 steps are not worth the trial.
    """
    options, device = task.options, task.world.device
    config = Path(options.out) / "config.yaml"
    is_kept = options.resume and task.world.is_main and config.exists()
    if kept := task.world.broadcast(read_yaml(config, dict).get("amp") if is_kept else None):
        return str(kept)
    if not has_bfloat16(device) or (device.type == "cpu" and task.steps < _WORTH_A_TRIAL):
        return "none"
    if device.type == "cuda":
        return "bf16"
    seconds = _time_precisions(task, load())
    gain = seconds["none"] / seconds["bf16"]
    chosen = task.world.broadcast("bf16" if gain > _LEAST_GAIN else "none")
    _logger.info("--amp auto: bf16 is %.2f times as fast as none here; this run takes %s", gain, chosen)
    return str(chosen)


def _time_precisions(task: Any, batch: Any) -> dict[str, float]:
    """Seconds of a trial step in each precision, the second of each. Undoes what the steps do to the model."""
    options, seconds = task.options, dict[str, float]()
    buffers = {name: buffer.clone() for name, buffer in task.model.named_buffers()}
    task.model.train()
    for amp in ("none", "bf16") * 2:
        task.options = replace(options, amp=amp)
        start = time.process_time()
        task.try_step(batch)
        seconds[amp] = time.process_time() - start
        task.model.zero_grad(set_to_none=True)
    task.options = options
    for name, buffer in task.model.named_buffers():
        buffer.copy_(buffers[name])
    return seconds


def apply_gradients(model: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler, clip_grad: float) -> Tensor:
    """Clips, applies and clears the gradients. Returns their norm before clipping, on the device.

    The loss's `scaler` skips a step whose gradients overflow, and lowers its scale. A `clip_grad` of 0 is no limit.
    """
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad or float("inf"))
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm
