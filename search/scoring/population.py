"""Accuracy of many paths of a supernet in one pass over the images.

The candidates form a trie: paths that begin with the same choices share its nodes, and each batch goes through each
node once, depth first, so activations in memory grow with the depth and not with the number of candidates. Batch norm
is calibrated in the same way: statistics belong to a node, for they depend on all layers before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.errors import UserError
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.progress import Progress

from .score_cache import Score, ScoreCache


class Batches(Protocol):
    """A list, a DataLoader or the like: images (N, channels, H, W) and labels (N,), the same each time it is read."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class PopulationEvaluator:
    """Scores paths of a supernet, whose weights, buffers and modes stay as they are.

    The figures are those of one path at a time, bit for bit at the same number of threads: with calibration, of a copy
    of the path whose batch norms gathered their mean statistics over the calibration batches, each weighing alike
    (`reset_running_stats`, `momentum=None`, only batch norms in train mode), and then ran in eval mode. No random
    number is drawn.

    Args:
        net: The supernet, on the device to run on.
        val_batches: Held-out images, on any device.
        calibration_batches: Images of the training part, from which each path takes its batch norm statistics anew.
            None keeps the running ones, which mix all paths.
        chunk: Candidates in one pass, which bounds the statistics in memory; each further chunk reads the data again.
        dtype: float32, or what autocast is to use.
        channels_last: Move images to this memory format, else leave them as they come.
        score_cache: What was measured before, and where to note what is measured. Under torchrun only rank 0's counts.
        world: The processes that share out the candidates; each reads all the data.
        progress: Show a bar with the remaining time.

    Raises:
        UserError: `chunk` is not positive, or there are no images.
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
        self.chunk, self.dtype, self.channels_last = chunk, dtype, channels_last
        self.device = next(net.parameters()).device
        self.score_cache, self.world, self.progress = score_cache, world or World(0, 1, self.device), progress

    def evaluate(self, genotypes: Iterable[Genotype | Sequence[int] | str]) -> list[Score]:
        """The score of each genotype, in order, on every rank.

        What occurs twice, or is in the score cache, is not measured again. The scores of a chunk are ready together,
        and then go to the score cache.

        Raises:
            UserError: a genotype is not in the space.
        """
        wanted = [Genotype.parse(genotype, self.net.space) for genotype in genotypes]
        scores = self.world.broadcast(self._recall(wanted))
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

    def _recall(self, genotypes: list[Genotype]) -> dict[tuple[int, ...], Score]:
        found = {genotype.choices: self.score_cache.get(genotype) for genotype in genotypes} if self.score_cache else {}
        return {choices: score for choices, score in found.items() if score is not None}

    def _score(self, candidates: list[Genotype], advance: Callable[[str], None]) -> Tensor:
        """Hits, summed loss and number of images of each candidate: float64, (candidates, 3), on the CPU."""
        trie = self.trie(candidates, advance)
        totals = torch.zeros(len(candidates), 3, dtype=torch.float64, device=self.device)
        for images, labels in self.val_batches:
            labels = labels.to(self.device, non_blocking=True)
            with torch.inference_mode(), self._precision():
                for index, logits in trie.outputs(self._move(images)):
                    logits = logits.float()
                    totals[index, 0] += (logits.argmax(1) == labels).sum()
                    totals[index, 1] += F.cross_entropy(logits, labels, reduction="sum")
                    advance("scoring")
            totals[:, 2] += len(labels)
        return totals.cpu()

    def trie(self, candidates: Sequence[Genotype], advance: Callable[[str], None] = lambda note: None) -> Trie:
        """The trie of distinct paths, calibrated if that was asked for: each norm has the mean statistics of its input.

        `advance` is called once a path and batch.
        """
        trie = Trie(self.net, candidates)
        if self.calibration_batches is None:
            return trie
        for norm in trie.norms:
            norm.reset_running_stats()
            norm.train()
        for count, (images, _) in enumerate(self.calibration_batches, 1):
            for norm in trie.norms:
                norm.momentum = 1 / count  # what None amounts to, which would wait for the GPU at each norm
            with torch.inference_mode(), self._precision():
                for _ in trie.outputs(self._move(images)):
                    advance("calibrating")
        for norm in trie.norms:
            norm.eval()
        return trie

    def _move(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)


@dataclass
class Node:
    """The last module of a distinct prefix of paths, and what follows by choice; `index` is the path that ends here."""

    module: nn.Module
    index: int = -1
    children: dict[int, Node] = field(default_factory=dict)


HEAD = -1  # stands behind a path's last choice


class Trie:
    """Paths of a supernet as a tree: the stem is its root, and a head of its own is each path's leaf.

    A node runs its module in eval mode with the supernet's parameters, but has buffers of its own.

    Args:
        net: The supernet.
        candidates: Distinct paths.

    Attributes:
        root: The stem's node.
        norms: The batch norms of all nodes.
    """

    def __init__(self, net: Supernet, candidates: Sequence[Genotype]) -> None:
        self.norms: list[_BatchNorm] = []
        self.root = self._node(net.stem)
        for index, genotype in enumerate(candidates):
            node = self.root
            for layer, choice in enumerate(genotype):
                if choice not in node.children:
                    node.children[choice] = self._node(net.choice(layer, choice))
                node = node.children[choice]
            node.children[HEAD] = self._node(net.head, index)

    def _node(self, module: nn.Module, index: int = -1) -> Node:
        twin = _twin(module).eval()
        self.norms += [part for part in twin.modules() if isinstance(part, _BatchNorm)]
        return Node(twin, index)

    def outputs(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Index and logits (N, classes) of each candidate, for images (N, channels, H, W). Each node runs once."""
        pending = [(self.root, images)]  # features are let go as soon as the last of their node's children has them
        while pending:
            node, features = pending.pop()
            features = node.module(features)
            if node.index >= 0:
                yield node.index, features
            pending += [(child, features) for child in node.children.values()]


def _twin(module: nn.Module) -> nn.Module:
    """A module with the same parameters, but modes and buffers of its own; far faster than a deep copy."""
    twin = copy.copy(module)
    twin._modules = {name: part and _twin(part) for name, part in module._modules.items()}
    twin._buffers = {name: None if value is None else value.clone() for name, value in module._buffers.items()}
    return twin


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
