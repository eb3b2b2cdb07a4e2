"""Paths of a supernet as a trie: paths that begin with the same choices share modules and their statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
