"""What a training costs, before there are images: its updates and hours, by a speed that is given or measured."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scarlet_models import networks
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.inspection.timing import seconds_of_batch
from scarlet_models.weights.source import locate

from .device import pick_device, to_device
from .optim import autocast, automatic_batch_size, has_bfloat16
from .options import TrainOptions, sizes


def make_plan(options: TrainOptions) -> dict[str, Any]:
    """Images, updates and hours of a training on `options.plan` images, if one device did it all.

    The speed, in images per second, is `options.throughput` for all image sizes. If that is 0, the forward and backward
    pass of a batch of random images is timed for each size. Reading and varying images is not in it.

    Raises:
        UserError: There are fewer images than a batch has, or the network is unknown.
    """
    device = pick_device(options.device, options.threads)
    learnt_from = options.plan - round(options.holdout * options.plan)
    batch = options.batch_size or automatic_batch_size(learnt_from, options.accumulate)
    if learnt_from < batch:
        raise UserError(f"{learnt_from:,} images to learn from are fewer than a batch of {batch}")
    model = networks.create(locate(options.model), "scarlet", False, **options.model_args)
    size = networks.image_size(model)
    passes = Counter(each or size for each in sizes(options.image_size, options.epochs))
    precision = options.amp
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and has_bfloat16(device) else "none"
    model = to_device(model, device).train()
    teacher = networks.create(locate(options.teacher), "scarlet", False) if options.teacher else None
    teacher = to_device(teacher, device).eval() if teacher else None

    def step(images: Tensor, labels: Tensor) -> None:
        with autocast(precision, device):
            if teacher:
                with torch.no_grad():
                    teacher(images)
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        model.zero_grad(set_to_none=True)

    def speed(size: int) -> float:
        part = max(batch // options.accumulate, 1)
        with as_user_error(f"{options.model} cannot see images of {size} px", AssertionError, RuntimeError):
            return options.throughput or part / seconds_of_batch(step, size, part, 2, device)

    updates = learnt_from // batch
    threads = f"CPU, {torch.get_num_threads()} thread(s)"
    speeds = {size: speed(size) for size in passes}
    hours = sum(count * updates * batch / speeds[size] for size, count in passes.items()) / 3600
    return {
        "model": options.model,
        "images": learnt_from,
        "held_out": options.plan - learnt_from,
        "epochs": options.epochs,
        "batch_size": batch,
        "updates": updates * options.epochs,
        "images_per_second": {str(size): round(value, 1) for size, value in speeds.items()},
        "measured": not options.throughput,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else threads,
        "precision": precision,
        "hours": hours,
    }
