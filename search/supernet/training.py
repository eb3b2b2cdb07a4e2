"""Training a supernet: the task, which makes a fair step of paths of each batch, and `train_supernet`."""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.utils.data import Dataset

from scarlet_models.from_timm import load_space
from scarlet_models.models import default_cfgs
from scarlet_models.space.space import Genotype
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World, start_training
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.optim import autocast
from scarlet_models.training.options import from_keywords
from scarlet_models.training.run_folder import MetricsTable, RunFolder
from scarlet_models.training.split import fixed_data, refuse_mixing, split_holdout, write_images
from scarlet_models.training.task import Scale, Task, move
from scarlet_models.training.trainer import Trainer
from scarlet_models.training.transforms import eval_transform, train_transform
from scarlet_models.weights.inherit import fill_block, fill_end, load_donor

from .fair_step import add_gradients, batch_statistics
from .file import SupernetInfo, save_supernet
from .options import SupernetOptions
from .sampler import FairSampler, Sampler, UniformSampler
from .supernet import Supernet

_logger = logging.getLogger(__name__)

Pair = tuple[Tensor, Tensor]


def train_supernet(space: str | Path, data_dir: str | Path = "", **options: Any) -> Supernet:
    """Trains a supernet on a folder of images and returns it, on the CPU and in eval mode.

    `train_supernet("scarlet", "my_images", out="runs/supernet", epochs=60)` is the command
    `scarlet-search train --space scarlet --data-dir my_images --out runs/supernet --epochs 60`.

    Args:
        space: Search space: a name or a YAML file.
        data_dir: Folder of class folders, or with one such folder for each split.
        options: Other options of the command; `SupernetOptions` describes them.

    Raises:
        UserError: A bad option, unreadable data, a full disk, or a loss that is not finite.
    """
    asked = from_keywords(SupernetOptions, space=space, data_dir=data_dir, **options)
    with start_training(asked.device, asked.threads) as world:
        path, _ = train(asked, world, "scarlet-search train")
        return Supernet.from_pretrained(path)


def train(options: SupernetOptions, world: World, command: str) -> tuple[Path, dict[str, float]]:
    """Train to the end; return the file of the supernet's weights, and the last row of metrics.csv."""
    task = FairSteps(options, world)
    trainer = Trainer(task, command)
    trainer.run()
    path = trainer.folder.path
    with world.main_first():
        if world.is_main:
            path = save_supernet(task.model, trainer.folder.path, task.info(trainer.step))
            _logger.info("%d fair steps done; the supernet is %s", trainer.step, path)
    return path, {"steps": trainer.step, **trainer.row}


def inherit_supernet(net: Supernet, source: str) -> dict[str, Any]:
    """Fill stem, head and every choice of a supernet from one trained network; stabilizers stay as they are.

    Returns mean and deviation of the images that the network expects.
    """
    donor = load_donor(net.space, source)
    with torch.no_grad():
        for name, module in (*net.stem.named_children(), *net.head.named_children()):
            fill_end(module, donor.model.blocks[0][0] if name == "separable" else getattr(donor.model, name))
        for index, choices in enumerate(net.layers):
            for block in cast(nn.ModuleDict, choices).values():
                if hasattr(block, "has_skip"):
                    fill_block(block, donor.blocks.get(index))
    return {name: donor.model.pretrained_cfg[name] for name in ("mean", "std")}


class FairSteps(Task):
    """A supernet that learns all its paths; the sampler of paths is the only random state of a run."""

    model: Supernet

    def __init__(self, options: SupernetOptions, world: World) -> None:
        super().__init__(options, world)
        self.space = load_space(options.space or options.inherit or "scarlet")[0]
        self.image_size = options.image_size or self.space.input_size
        with world.main_first():
            self.images = LabelledImages(options, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        self.plan(self.split.train, options.epochs, options.steps)
        self.warmup_steps = round(self.warmup_steps)
        self._build(options)
        # Of each choice of each layer since its last row: paths, their top-1 and its square.
        self.kept = {"tally": torch.zeros(len(self.space.layers), len(self.space.choices), 3, dtype=torch.float64)}
        self.parts = {"sampler": self.sampler}
        self.fixed = {
            **fixed_data(self.split, self.images, options.out),
            "space": (self.space.to_dict(), "trains another space: restore its --space"),
        }
        self.choices: MetricsTable | None = None
        self._paths: deque[Sequence[Genotype]] = deque()  # of the steps whose figures are not taken in yet

    def _build(self, options: SupernetOptions) -> None:
        torch.manual_seed(options.seed)
        self.model = Supernet(self.space, len(self.images.classes), options.stabilizer, options.init)
        wanted: dict[str, Any] = {"input_size": (3, self.image_size, self.image_size), "crop_pct": options.crop_pct}
        if options.inherit:
            torch.manual_seed(options.seed)  # the same blocks whatever the stabilizer drew
            wanted |= inherit_supernet(self.model, options.inherit)
            refuse_mixing(options.inherit, self.split, self.images)
        origin = f"the weights of {options.inherit}, layer by layer" if options.inherit else "random weights"
        _logger.info("the supernet of space %s starts from %s", self.space.name, origin)
        to_device(self.model, self.world.device)
        self.loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.sampler: Sampler = FairSampler(self.space, options.seed)
        if options.sampling != "fair":
            self.sampler = UniformSampler(self.space, options.seed, 1 if options.sampling == "single" else None)
        self.data_config: dict[str, Any] = resolve_data_config(
            {key: value for key, value in wanted.items() if value},
            pretrained_cfg=default_cfgs["scarlet_net"].default.to_dict(),
        )

    def open(self, folder: RunFolder, step: int) -> None:
        self.folder = folder
        if self.world.is_main and not step:
            write_images(self.images, folder.path)
        self.choices = MetricsTable(folder.path / "choices.csv", step) if self.world.is_main else None

    def dataset(self, epoch: int) -> Dataset[Any]:
        transform = train_transform(self.image_size, self.data_config, self.options)
        return Transformed(self.images, transform, self.options.seed, epoch)

    def begin_step(self) -> None:
        self._paths.append(self.sampler.fair_step())

    def add_gradients(self, batch: Pair, scale: Scale) -> dict[str, Tensor]:
        losses, hits = self._add_gradients(self._paths[-1], batch, scale)
        return {"loss": losses / self.options.accumulate, "hits": hits}

    def try_step(self, batch: Pair) -> None:
        """The gradients of two paths, which cost in proportion what a fair step does."""
        self._add_gradients(FairSampler(self.space).fair_step()[:2], batch, lambda loss: loss)

    def _add_gradients(self, paths: Sequence[Genotype], batch: Pair, scale: Scale) -> Pair:
        precision = autocast(self.options.amp, self.world.device)
        return add_gradients(self.model, paths, *move(batch, self.world.device), self.loss, scale, precision)

    def finish_gradients(self) -> None:
        """Averages over the paths what all of them add to. Blocks that no path uses get no gradient and stay."""
        shared = [*self.model.stem.parameters(), *self.model.head.parameters()]
        for parameter in shared if self.options.average_shared else ():
            if parameter.grad is not None:
                parameter.grad /= len(self._paths[-1])

    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        """The gradient's norm, and over the paths mean loss, mean and deviation of top-1 in percent."""
        top1 = 100 * figures["hits"].double().numpy() * self.world.size / self.options.batch_size
        for path, value in zip(self._paths.popleft(), top1, strict=True):
            self.kept["tally"].numpy()[np.arange(len(path)), path.choices] += (1, value, value**2)
        if step % self.options.choices_every == 0 or step == self.steps:
            self._record_choices(step)
        norm, loss = figures["grad_norm"].item(), figures["loss"].mean().item()
        return {"grad_norm": norm, "loss": loss, "top1": float(top1.mean()), "top1_std": float(top1.std())}

    def describe_loss(self, loss: Tensor) -> str:
        first = int((~loss.isfinite()).nonzero()[0])
        return f"loss {loss[first].item():.4g} of path {first} ({self._paths[0][first]})"

    @torch.inference_mode()
    def measure(self, epoch: int) -> dict[str, float]:
        """Mean and deviation of fixed paths' top-1 in percent on held-out images, by batch statistics."""
        world = self.world
        held = np.random.default_rng(0).permutation(self.split.holdout)[: self.options.eval_images]
        if not len(held):
            return {}
        paths = FairSampler(self.space).fair_step()
        batches = np.array_split(held, -(-len(held) // self.local_batch))[world.rank :: world.size]
        dataset = Transformed(self.images, eval_transform(self.image_size, self.data_config))
        hits = torch.zeros(len(paths), device=world.device)
        with batch_statistics(self.model), autocast(self.options.amp, world.device):
            for batch in load_batches(dataset, [batch.tolist() for batch in batches], self.options.workers):
                images, labels = move(batch, world.device)
                features = self.model.stem(images)
                logits = [self.model.forward_path(features, path) for path in paths]
                hits += torch.stack([(each.argmax(1) == labels).sum() for each in logits])
        top1 = 100 * np.array(world.sum(hits.tolist())) / len(held)
        return {"holdout_top1": float(top1.mean()), "holdout_top1_std": float(top1.std())}

    def _record_choices(self, step: int) -> None:
        """Top-1 of the paths that had each choice since the last time: rows of choices.csv and TensorBoard scalars."""
        tally = self.kept["tally"].numpy()
        for layer, choice in zip(*np.nonzero(tally[:, :, 0]), strict=True):
            count, total, squares = tally[layer, choice]
            mean = float(total / count)
            deviation = max(squares / count - mean**2, 0.0) ** 0.5
            row = {"step": step, "layer": layer, "choice": choice, "paths": int(count)}
            if self.choices:
                self.choices.append({**row, "top1": mean, "top1_std": float(deviation)})
            self.folder.add_scalar(f"top1_of_choice/layer{layer}_{choice}", mean, step)
        tally[:] = 0

    def info(self, steps: int) -> SupernetInfo:
        asked = {name: getattr(self.options, name) for name in ("holdout", "split_seed", "sampling", "train_split")}
        images: dict[str, Any] = {"image_size": self.image_size, "data_config": self.data_config}
        return SupernetInfo(**asked, **images, classes=self.images.classes, split_hash=self.split.hash, steps=steps)
