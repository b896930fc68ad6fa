# SPDX-License-Identifier: Apache-2.0
"""The next batch, made while a GPU computes on this one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

__all__ = ["ahead"]

Batch = dict[str, Tensor]


def ahead(batches: Iterator[Batch], device: str | torch.device | None) -> Iterator[Batch]:
    """The same batches in the same order; for a GPU each is made beforehand, in pinned memory.

    One thread makes one batch ahead (gathering and copying leave Python's lock to the others). A copy of pinned memory
    to the GPU is not waited for and needs no copy in between. What fails in the thread is raised here, in the place of
    the batch; who stops early leaves no thread behind.

    Args:
        batches: dictionaries of tensors; those that lie on the host are pinned.
        device: where they will be computed on; other than a GPU: nothing changes.
    """
    if device is None or torch.device(device).type != "cuda":
        return batches
    return _made_ahead(batches, torch.device(device))


def _made_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    with ThreadPoolExecutor(1, "next-batch", _choose, (device,)) as pool:
        coming = pool.submit(_next_pinned, batches)
        while (batch := coming.result()) is not None:
            coming = pool.submit(_next_pinned, batches)
            yield batch


def _choose(device: torch.device) -> None:
    """Let a thread pin memory for this GPU: of a new thread it would be the first one."""
    if device.index is not None and torch.cuda.is_available():
        torch.cuda.set_device(device)


def _next_pinned(batches: Iterator[Batch]) -> Batch | None:
    """The next batch, where there is one; what has no dimension, such as a seed, is read on the host alone."""
    batch = next(batches, None)
    if batch is None or not torch.cuda.is_available():
        return batch
    return {key: value.pin_memory() if value.dim() and value.is_cpu else value for key, value in batch.items()}
