# SPDX-License-Identifier: Apache-2.0
"""Where a store keeps its tensors: in memory, on a disk, on a device, or in the first of these that has room."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wss_monai.data.loading.estimated_size import estimated_bytes
from wss_monai.data.loading.prepared_cases import PreparedCases

__all__ = ["StorePlace", "free_memory"]

PLACES = ("memory", "disk", "device", "auto")
SHARE_OF_DEVICE, SHARE_OF_MEMORY = 0.4, 0.6
"""Of what is free, what a store may take: networks and their activations, validation and the system need the rest."""
logger = logging.getLogger(__name__)


class StorePlace:
    """Where a store keeps its tensors.

    Args:
        store: "memory"; "disk", files in ``folder`` that all processes of a machine share; "device", where images and
            maps lie on ``device`` and the rest in memory; "auto", the first that has room: "device" if it is a GPU and
            the store takes at most 0.4 of its free memory, "memory" if the stores of all processes of this machine take
            at most 0.6 of what is free, else "disk".
        folder: of stores on a disk.
        device: for "device" and "auto".

    Raises:
        ValueError: another word.
    """

    def __init__(
        self,
        store: str = "memory",
        folder: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if store not in PLACES:
            raise ValueError(f"store must be one of {list(PLACES)}, got {store!r}.")
        self.store = store
        self.folder = folder
        self.device = torch.device(device)

    def chosen(self, volumes: Any, maps: Sequence[str], least: Sequence[int] = ()) -> str:
        """ "memory", "disk" or "device" for a store of these cases; "auto" says in the log why.

        Args:
            volumes: the cases; of others than ``PreparedCases``, which are in memory as it is, "auto" is "memory".
            maps, least: see ``estimated_bytes``.
        """
        if self.store != "auto":
            return self.store
        if not isinstance(volumes, PreparedCases):
            return "memory"
        size = estimated_bytes(volumes, maps, least)
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            if size <= SHARE_OF_DEVICE * free:
                return _said("device", size, f"{free / 1e9:.1f} GB of the GPU are free")
        free, processes = free_memory(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        several = f", shared by {processes} processes" if processes > 1 else ""
        fits = size * processes <= SHARE_OF_MEMORY * free
        return _said("memory" if fits else "disk", size, f"{free / 1e9:.1f} GB of memory are free{several}")

    def disk_folder(self) -> Path:
        """The folder of stores on a disk.

        Raises:
            ValueError: none was named.
        """
        if self.folder is None:
            raise ValueError("a store on a disk needs a folder: set --store_dir.")
        return Path(self.folder)


def free_memory() -> int:
    """Bytes of memory that this process may still take: what the system and its control group leave."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        found += [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(found, default=2**33)


def _said(place: str, size: int, why: str) -> str:
    logger.info("the training set takes about %.2f GB prepared, and %s: store %s.", size / 1e9, why, place)
    return place
