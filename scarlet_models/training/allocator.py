"""The C library's allocator on a CPU: what a step frees is kept for the next step.

glibc hands each freed block of some megabytes back to the system and then gets it anew, page by page. For a training
step, whose activations come and go, these page faults cost a fifth of the time (benchmarks/supernet_step.py).
"""

from __future__ import annotations

import ctypes

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes, the largest int


def keep_freed_memory() -> bool:
    """Lets this process keep freed memory until it ends. Returns whether the C library could be told; glibc can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    told = [mallopt(parameter, _LARGEST) for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)]
    return all(told)
