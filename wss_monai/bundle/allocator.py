# SPDX-License-Identifier: Apache-2.0
"""Keep the memory that a training step frees, so that the next step need not ask for it again."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 1024 * 1024
"""Greatest threshold that glibc takes for blocks of a mapping of their own."""
ENVIRONMENT = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Ask glibc not to give freed memory back to the system while the process runs.

    A training step on the CPU frees and allocates its activations, megabytes each. By default glibc hands the top of
    the heap back after steps of some shapes, and the system maps and clears each page anew in the next: a good part of
    the time of the toys' network, next to nothing of a batch of ACDC slices (docs/results/toy-disc.md). The process
    then holds the most memory that it ever needed. Says nothing about GPU memory. Where the user has set one of the
    variables of ``ENVIRONMENT``, nothing changes; nor with other C libraries.

    Returns:
        Whether it was asked for.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in ENVIRONMENT):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
