"""Decoded images of one size, kept from the first time that each is read."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MOST_IN_MEMORY = 4 << 30  # bytes, and a quarter of the machine's; more go into a file
MOST_IN_FILE = 128 << 30  # bytes, and half of what the disk has free; more are decoded again each time

_logger = logging.getLogger(__name__)


class Decoded:
    """Images as uint8 (count, height, width, 3): in memory, or in a nameless file that goes when the process does."""

    def __init__(self, read: Callable[[int], Image.Image], store: np.ndarray) -> None:
        self._read, self._store = read, store
        self._known = np.zeros(len(store), dtype=bool)

    @classmethod
    def within_limits(
        cls, read: Callable[[int], Image.Image], shape: tuple[int, int, int], folder: Path
    ) -> Decoded | None:
        """Room for images of a shape (count, height, width); None where there is too little."""
        size, ranks = 3 * int(np.prod(shape)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8 << 30
        if ranks * size <= min(MOST_IN_MEMORY, memory // 4):
            return cls(read, np.empty((*shape, 3), dtype=np.uint8))
        folder = folder if folder.is_dir() else Path(tempfile.gettempdir())
        gigabytes = f"{size / 1e9:.1f} GB of decoded images"
        if ranks * size > min(MOST_IN_FILE, shutil.disk_usage(folder).free // 2):
            _logger.info("%s are too many to keep in %s: they are decoded in each epoch", gigabytes, folder)
            return None
        _logger.info("%s are kept in a file in %s, which goes when the run ends", gigabytes, folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            return cls(read, np.memmap(file, np.uint8, "w+", shape=(*shape, 3)))

    def take(self, indices: Sequence[int], spread: Callable[..., Iterable[Any]] = map) -> np.ndarray:
        """These images, uint8 of shape (images, height, width, 3). `spread` maps over those not known yet."""
        list(spread(self._decode, [index for index in indices if not self._known[index]]))
        return self._store[indices]

    def _decode(self, index: int) -> None:
        self._store[index] = np.asarray(self._read(index))
        self._known[index] = True
