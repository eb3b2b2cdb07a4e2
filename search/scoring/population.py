"""Accuracy of many paths of a supernet in one pass over the images.

The paths form a trie: those that begin with the same choices share modules and their statistics. Each batch goes
through each node once, depth first, so memory for activations grows with the depth and not with the number of paths.
Batch-norm recalibration works the same way: statistics belong to a node, because they depend on all layers before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.errors import UserError
from scarlet_models.inference import fold_batch_norms
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.progress import Progress

from .score_cache import Score, ScoreCache

HEAD = -1  # stands behind a path's last choice


class Batches(Sized, Iterable[Any], Protocol):
    """A list, a DataLoader or the like: images (N, channels, H, W) and labels (N,), the same each time it is read."""


@dataclass
class Node:
    """The last module of a distinct prefix of paths, and what follows by choice; `index` is the path that ends here."""

    module: nn.Module
    index: int = -1
    children: dict[int, Node] = field(default_factory=dict)


class Trie:
    """Distinct paths of a supernet as a tree: the stem is its root, and a head of its own is each path's leaf.

    A node runs its module in eval mode with the supernet's parameters, but has buffers of its own. `norms` are the
    batch norms of all nodes. With a reduced `dtype`, features and copies of the convolutions have it; `fold` then folds
    running statistics into the convolutions, and `norms` is empty.
    """

    def __init__(
        self, net: Supernet, candidates: Sequence[Genotype], dtype: torch.dtype = torch.float32, fold: bool = False
    ) -> None:
        self.norms: list[_BatchNorm] = []
        self.dtype, self.fold = dtype, fold and dtype != torch.float32
        self._reduced: dict[int, nn.Module] = {}  # by the id of the supernet's module
        self.root = self._node(net.stem)
        for index, genotype in enumerate(candidates):
            node = self.root
            for layer, choice in enumerate(genotype):
                if choice not in node.children:
                    node.children[choice] = self._node(net.choice(layer, choice))
                node = node.children[choice]
            node.children[HEAD] = self._node(net.head, index)

    def outputs(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Index and logits (N, classes) of each candidate, for images (N, channels, H, W). Each node runs once."""
        pending = [(self.root, images.to(self.dtype))]
        while pending:  # features are let go as soon as the last of their node's children has them
            node, features = pending.pop()
            features = node.module(features)
            if node.index >= 0:
                yield node.index, features
            pending += [(child, features) for child in node.children.values()]

    def _node(self, module: nn.Module, index: int = -1) -> Node:
        if self.dtype != torch.float32:
            module = self._reduced.get(id(module)) or self._reduced.setdefault(id(module), self._reduce(module))
        twin = module if self.fold else _twin(module).eval()
        self.norms += [part for part in twin.modules() if isinstance(part, _BatchNorm)]
        return Node(twin, index)

    def _reduce(self, module: nn.Module) -> nn.Module:
        reduced = copy.deepcopy(module).eval()
        if self.fold:
            fold_batch_norms(reduced)
        for part in reduced.modules():
            if isinstance(part, nn.Linear):  # rounded logits would tie
                part.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
            elif not isinstance(part, _BatchNorm):
                for parameter in part.parameters(recurse=False):
                    parameter.data = parameter.data.to(self.dtype)
        return reduced


def _twin(module: nn.Module) -> nn.Module:
    """A module with the same parameters, but modes and buffers of its own; far faster than a deep copy."""
    twin = copy.copy(module)
    twin._modules = {name: part and _twin(part) for name, part in module._modules.items()}
    twin._buffers = {name: None if value is None else value.clone() for name, value in module._buffers.items()}
    return twin


class PopulationEvaluator:
    """Scores paths of a supernet. Its weights, buffers and modes do not change, and no random number is drawn.

    In float32 the scores equal those of one path at a time, bit for bit at the same number of threads. With
    recalibration, that is a copy of the path whose batch norms took the mean of their statistics over the calibration
    batches (`reset_running_stats`, `momentum=None`, only batch norms in train mode) and then ran in eval mode.

    Args:
        net: The supernet, on the device to run on.
        val_batches: Held-out images, on any device.
        calibration_batches: Training images for the batch-norm statistics of each path. None keeps the running
            statistics, which mix all paths.
        chunk: Paths in one pass. It bounds the statistics in memory; each further chunk reads the data again.
        dtype: Of features and convolutions. In reduced precision, running statistics are folded into the convolutions.
        channels_last: Move images to this memory format; otherwise leave them as they are.
        score_cache: Scores measured before, and the place for new ones. Under torchrun only that of rank 0 counts.
        world: The processes that share the paths; each reads all the data.
        progress: Show a progress bar with the remaining time.
    """

    def __init__(
        self,
        net: Supernet,
        val_batches: Batches,
        calibration_batches: Batches | None = None,
        *,
        chunk: int = 128,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        score_cache: ScoreCache | None = None,
        world: World | None = None,
        progress: bool = False,
    ) -> None:
        if chunk < 1:
            raise UserError(f"chunk: {chunk} is not a positive number of candidates")
        if not len(val_batches):
            raise UserError("there are no held-out images to score on")
        if calibration_batches is not None and not len(calibration_batches):
            raise UserError("there are no images to calibrate batch norm with")
        self.net, self.val_batches, self.calibration_batches = net, val_batches, calibration_batches
        self.chunk, self.dtype, self.device = chunk, dtype, next(net.parameters()).device
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        self.score_cache, self.world, self.progress = score_cache, world or World(0, 1, self.device), progress

    def evaluate(self, genotypes: Iterable[Genotype | Sequence[int] | str]) -> list[Score]:
        """Score each genotype; the scores come back in order, on every rank.

        A genotype that occurs twice, or is in the score cache, is not measured again. The scores of a chunk are ready
        together and then go to the score cache. A UserError if a genotype is not in the space.
        """
        wanted = [Genotype.parse(genotype, self.net.space) for genotype in genotypes]
        known = self.score_cache.known if self.score_cache else {}
        scores = self.world.broadcast({g.choices: known[g.choices] for g in wanted if g.choices in known})
        missing = sorted({g.choices: g for g in wanted if g.choices not in scores}.items())
        step = self.chunk * self.world.size
        passes = [[genotype for _, genotype in missing[i : i + step]] for i in range(0, len(missing), step)]
        shares = [_share(candidates, self.world) for candidates in passes]
        batches = len(self.val_batches) + (0 if self.calibration_batches is None else len(self.calibration_batches))
        quiet = not (self.progress and self.world.is_main)
        with Progress(batches * sum(map(len, shares)), 0, "evaluate", quiet) as progress:
            for candidates, share in zip(passes, shares, strict=True):
                totals = torch.zeros(len(candidates), 3, dtype=torch.float64)  # hits, summed loss, images
                if share:
                    totals[share] = self._score([candidates[i] for i in share], progress.advance)
                sums = np.reshape(self.world.sum(totals.flatten().tolist()), totals.shape)
                for genotype, (hits, loss, count) in zip(candidates, sums.tolist(), strict=True):
                    scores[genotype.choices] = score = Score(100 * hits / count, loss / count, int(count))
                    if self.score_cache and self.world.is_main:
                        self.score_cache.add(genotype, score)
        return [scores[genotype.choices] for genotype in wanted]

    def _score(self, candidates: list[Genotype], advance: Callable[[str], None]) -> Tensor:
        """Hits, summed loss and number of images of each candidate: float64, (candidates, 3), on the CPU."""
        trie = self.trie(candidates, advance)
        totals = torch.zeros(len(candidates), 3, dtype=torch.float64, device=self.device)
        for images, labels in self.val_batches:
            labels = labels.to(self.device, non_blocking=True)
            for index, logits in self._outputs(trie, images):
                logits = logits.float()
                totals[index, 0] += (logits.argmax(1) == labels).sum()
                totals[index, 1] += F.cross_entropy(logits, labels, reduction="sum")
                advance("scoring")
            totals[:, 2] += len(labels)
        return totals.cpu()

    def trie(self, candidates: Sequence[Genotype], advance: Callable[[str], None] = lambda note: None) -> Trie:
        """Build the trie of distinct paths and recalibrate it if there are calibration batches.

        `advance` is called once for each path and batch.
        """
        trie = Trie(self.net, candidates, self.dtype, fold=self.calibration_batches is None)
        if self.calibration_batches is None:
            return trie
        for norm in trie.norms:
            norm.reset_running_stats()
            norm.train()
        for count, (images, _) in enumerate(self.calibration_batches, 1):
            for norm in trie.norms:
                norm.momentum = 1 / count  # what None amounts to, which would wait for the GPU at each norm
            for _ in self._outputs(trie, images):
                advance("calibrating")
        for norm in trie.norms:
            norm.eval()
        return trie

    @torch.inference_mode()
    def _outputs(self, trie: Trie, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        yield from trie.outputs(images.to(self.device, non_blocking=True, memory_format=self.layout))


def _share(candidates: Sequence[Genotype], world: World) -> range:
    """Which of the sorted candidates this rank scores: neighbours in the trie, and about as many MACs as on others."""
    macs = _added_macs(candidates)
    place = (np.cumsum(macs) - macs / 2) * world.size / macs.sum()
    first, end = np.searchsorted(place, [world.rank, world.rank + 1])
    return range(first, end)


def _added_macs(candidates: Sequence[Genotype]) -> np.ndarray:
    """MACs of each candidate without the first layers that it shares with the one before it, int64."""
    paths = np.array([genotype.choices for genotype in candidates])
    table = candidates[0].space.cost_table()
    macs = table.macs[np.arange(paths.shape[1]), paths]
    macs[1:][np.logical_and.accumulate(paths[1:] == paths[:-1], axis=1)] = 0
    return table.base.macs + macs.sum(1)
