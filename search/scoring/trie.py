"""Paths of a supernet as a trie: paths that begin with the same choices share modules and their statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.inference import fold_batch_norms
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype

HEAD = -1  # stands behind a path's last choice


@dataclass
class Node:
    """The last module of a distinct prefix of paths, and what follows by choice; `index` is the path that ends here."""

    module: nn.Module
    index: int = -1
    children: dict[int, Node] = field(default_factory=dict)


class Trie:
    """Paths of a supernet as a tree: the stem is its root, and a head of its own is each path's leaf.

    A node runs its module in eval mode with the supernet's parameters, but has buffers of its own.

    Args:
        net: The supernet.
        candidates: Distinct paths.
        dtype: Of features and of convolutions; reduced precision works with copies.
        fold: In reduced precision, fold the running statistics into the convolutions; `norms` is empty then.

    Attributes:
        root: The stem's node.
        norms: The batch norms of all nodes.
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

    def outputs(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Index and logits (N, classes) of each candidate, for images (N, channels, H, W). Each node runs once."""
        images = images if self.dtype == torch.float32 else images.to(self.dtype)
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
