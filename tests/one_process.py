# SPDX-License-Identifier: Apache-2.0
"""A process group of this process alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

KEPT: list[nn.Module] = []
"""Until this process ends: a thread of the backend needs Python to let go of what it reduced, and a distributed network
that is deleted before that waits for it with Python in hand: each would wait for the other for ever."""


@contextlib.contextmanager
def process_group(folder: Path) -> Iterator[Callable[[nn.Module], nn.Module]]:
    """A group of one, for what runs inside; gives what makes a network a distributed one."""

    def distributed(network: nn.Module) -> nn.Module:
        KEPT.append(DistributedDataParallel(network))
        return KEPT[-1]

    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1)
    try:
        yield distributed
    finally:
        dist.destroy_process_group()
