# SPDX-License-Identifier: Apache-2.0
"""A process group of this process alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch.distributed as dist


@contextlib.contextmanager
def process_group(folder: Path) -> Iterator[None]:
    """A group of one, for what runs inside.

    The thread of the backend needs Python to let go of what it reduced; where a distributed network is deleted before
    that, each would wait for the other for ever. So it gets a moment.
    """
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1)
    try:
        yield
    finally:
        time.sleep(0.3)
        dist.destroy_process_group()
