# SPDX-License-Identifier: Apache-2.0
"""Columns in a folder: written once, whole or not at all, and mapped into the memory of every process that reads."""

from __future__ import annotations

import json
import logging
import mmap
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from wss_monai.data.loading.columns import Columns, ShapeTables, Writer, as_dtype
from wss_monai.io.atomic_files import replacing
from wss_monai.io.folder_lock import hold

__all__ = ["DiskColumns", "FolderWriter", "stored"]

INDEX, NOTES = "index.json", "notes.json"
FORMAT = 1
"""Of the folder; another one has another fingerprint."""
LET_GO = 256 * 2**20
"""Bytes that a process reads before it hands the pages back; the system keeps them as long as it has room."""
logger = logging.getLogger(__name__)


class DiskColumns(Columns):
    """Columns of a folder, read-only.

    The files are mapped, so that all processes of a machine share one copy in the system's cache. A process hands its
    pages back after every 256 MiB read, so that its resident memory does not grow with the data set.

    Args:
        folder: as ``FolderWriter`` left it.

    Attributes:
        notes: what was kept beside the columns.

    Raises:
        FileNotFoundError, ValueError: no such folder, or a file of it has another length than its index says.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        self.notes: dict[str, Any] = json.loads((self.folder / NOTES).read_text(encoding="utf-8"))
        self._maps: list[mmap.mmap] = []
        self._read = 0
        buffers, shapes = {}, {}
        for key, said in index["columns"].items():
            buffers[key] = self._mapped(said["file"], np.dtype(said["dtype"]), said["bytes"])
            shapes[key] = np.load(self.folder / f"{said['file']}.shape.npy", allow_pickle=False)
        super().__init__(buffers, shapes)

    def _mapped(self, name: str, dtype: np.dtype, size: int) -> Tensor:
        path = self.folder / f"{name}.bin"
        if (found := path.stat().st_size) != size:
            raise ValueError(f"{path} has {found} bytes, its index says {size}: delete the folder {self.folder}.")
        if size == 0:
            return torch.from_numpy(np.empty(0, dtype))
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the memory is not writable: nobody writes to it
            return torch.from_numpy(np.frombuffer(mapped, dtype))

    def release(self, read: int) -> None:
        """Count what was read, and hand pages back now and then."""
        self._read += read
        if self._read > LET_GO and hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
            self._read = 0


class FolderWriter:
    """Columns into files of a folder, ``NAME.bin`` (elements end to end) and ``NAME.shape.npy``, and an index.

    Args:
        folder: is there and empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._dtypes: dict[str, np.dtype] = {}
        self._shapes = ShapeTables()

    def add(self, entries: Mapping[str, Tensor]) -> None:
        """Write the entries of the next case; a key that comes late has none in the cases before.

        Raises:
            ValueError: values that the dtype of the cases before does not hold.
            OSError: nothing could be written.
        """
        for key, value in entries.items():
            array = value.numpy()
            if key not in self._files:
                self._files[key] = (self.folder / f"{len(self._files)}.bin").open("wb")
                self._dtypes[key] = array.dtype
            array = as_dtype(key, array, self._dtypes[key])
            self._files[key].write(np.ascontiguousarray(array).data)
        self._shapes.add(entries)

    def finish(self, notes: Mapping[str, Any]) -> DiskColumns:
        """Write the index, see that all is on the disk, and open the folder."""
        columns, shapes = {}, self._shapes.tables()
        for number, (key, file) in enumerate(self._files.items()):
            np.save(self.folder / f"{number}.shape.npy", shapes[key], allow_pickle=False)
            columns[key] = {"file": str(number), "dtype": self._dtypes[key].name, "bytes": file.tell()}
        self.close(wait=True)
        for name, content in ((NOTES, dict(notes)), (INDEX, {"format": FORMAT, "columns": columns})):
            with replacing(self.folder / name) as temporary:
                temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        return DiskColumns(self.folder)

    def close(self, wait: bool = False) -> None:
        """Close the files; with ``wait``, once they are on the disk."""
        for file in self._files.values():
            if not file.closed:
                file.flush()
                if wait:
                    os.fsync(file.fileno())
                file.close()


def stored(folder: Path, key: str, fill: Callable[[Writer], Mapping[str, Any]]) -> DiskColumns:
    """Columns of ``folder / key``, written by ``fill`` where they are not there.

    The folder appears whole or not at all. Of several processes that come at once, on one machine or on several with a
    file system that knows locks, one writes and the others wait; without locks each writes, and the first one counts.
    What a killed process left is removed by the next that writes.

    Args:
        folder: of all stores of a data set.
        key: fingerprint of what goes in.
        fill: adds all cases to the writer and returns the notes to keep.

    Raises:
        OSError: nothing could be written; names ``folder``.
    """
    place = folder / key
    if not place.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{key}.lock").open("ab") as lock:
                alone = hold(lock)
                if not place.is_dir():
                    _write(folder, key, fill, alone)
        except OSError as error:
            if error.errno is None or not str(error.filename or folder).startswith(str(folder)):
                raise  # of a case that is read, not of the store
            reason = error.strerror or error
            raise OSError(
                error.errno, f"cannot write the store ({reason}): make room, or choose another --store_dir", str(folder)
            ) from error
    return DiskColumns(place)


def _write(folder: Path, key: str, fill: Callable[[Writer], Mapping[str, Any]], alone: bool) -> None:
    mark = f".part-{key}-"
    if alone:
        for left in folder.glob(f"{mark}*"):
            shutil.rmtree(left, ignore_errors=True)
    part = folder / f"{mark}{socket.gethostname()}-{os.getpid()}"
    part.mkdir()
    writer = FolderWriter(part)
    try:
        size = writer.finish(fill(writer)).nbytes
        os.rename(part, folder / key)
    except BaseException as error:
        writer.close()
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and (folder / key).is_dir():
            return  # without locks another process was first
        raise
    logger.info("wrote the store %s: %.2f GB.", folder / key, size / 1e9)
