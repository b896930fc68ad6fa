# SPDX-License-Identifier: Apache-2.0
"""Which of several processes this is, and what all of them found.

Asked of torch itself: the first question to ``ignite.distributed`` is a round of all processes, and one that is alone
in asking would wait forever.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist

__all__ = ["first_process", "of_all_processes", "process_number", "rank_and_size"]

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Number of this process, and of all."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def process_number() -> int:
    """Number of this process, 0 where there is one."""
    return rank_and_size()[0]


def first_process() -> bool:
    """Whether this process is the one that writes."""
    return process_number() == 0


def of_all_processes(found: T) -> list[T]:
    """What each process found, in the order of the processes; every process must call it."""
    count = rank_and_size()[1]
    if count == 1:
        return [found]
    parts: list[Any] = [None] * count
    dist.all_gather_object(parts, found)
    return parts
