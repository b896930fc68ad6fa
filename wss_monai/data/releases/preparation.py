# SPDX-License-Identifier: Apache-2.0
"""What the conversions of public releases share: case by case, into a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.schema import write_dataset
from wss_monai.io.archives import unpack
from wss_monai.io.whole_folder import refuse_taken, working_folder

__all__ = ["Entry", "Preparation", "digest_of", "opened", "preparation", "refuse_missing", "some", "visible_files"]

SHOWN = 5
Entry = dict[str, Any]
"""A case in dataset.json."""


class SameImageError(ValueError):
    """An image that came before, of which a release is better without."""


@dataclass
class Preparation:
    """A conversion, and what came of it.

    Attributes:
        path: the new data set's folder.
        work: the folder to work in, which is gone in the end.
        training: number of training patients.
        test: number of test patients.
        cases: number of volumes.
        scribbles: number of volumes with a scribble.
        notes: (patient or case, what was skipped or changed, and why).
        skipped: patient or case -> why `convert` left it out; among the notes too.
        failed: those of them that could not be converted; the others are images that came before.
    """

    path: Path
    work: Path
    training: int = 0
    test: int = 0
    cases: int = 0
    scribbles: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _owners: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def result(self) -> Path:
        """Where the data set grows, until `finish` puts it in its place."""
        return self.work / "result"

    def convert(
        self, parts: Mapping[str, str], one: Callable[[str], list[Entry]], wanted: Sequence[str] | None = None
    ) -> dict[str, list[Entry]]:
        """Convert patient by patient, or case by case, in the order of their names.

        Args:
            parts: name -> "training" or "test".
            one: checks all files of that name, then writes them, and gives the entries of its cases. A ValueError says
                why it cannot be converted: it is skipped with a note.
            wanted: convert these only; each must be there and sound.

        Returns:
            The entries by part.

        Raises:
            ValueError: one of those asked for is not there or cannot be converted.
        """
        if wanted is not None and (missing := sorted(set(wanted) - set(parts))):
            raise ValueError(f"patients {missing} are not in the source; it has {len(parts)}: {sorted(parts)[:3]} ...")
        entries: dict[str, list[Entry]] = {"training": [], "test": []}
        for name in sorted(parts if wanted is None else set(wanted)):
            try:
                entries[parts[name]] += one(name)
            except (ValueError, EOFError, MemoryError) as error:
                if wanted is not None:
                    raise ValueError(f"{name}, which was asked for, cannot be converted: {error}") from error
                self.skipped[name] = str(error)
                self.failed += [] if isinstance(error, SameImageError) else [name]
                self.notes.append((name, f"skipped: {error}"))
        return entries

    def claim(self, images: Mapping[str, np.ndarray]) -> None:
        """Take images for the cases that they are named after.

        Raises:
            ValueError: one belongs to a case before; then none is taken.
        """
        digests = {name: digest_of(image) for name, image in images.items()}
        for name, digest in digests.items():
            if digest in self._owners:
                which = f"{name} " if len(images) > 1 else ""
                raise SameImageError(
                    f"{which}is the same image as {self._owners[digest]}; kept once, so that no split can leak it"
                )
        self._owners.update({digest: name for name, digest in digests.items()})

    def finish(self, description: Mapping[str, Any]) -> None:
        """Count the cases of a description, write it as `dataset.json`, and put the data set in its place.

        Raises:
            ValueError: it has no case.
        """
        entries = {part: description.get(part, []) for part in ("training", "test")}
        cases = [case for part in entries.values() for case in part]
        self.refuse_none(cases)
        self.training, self.test = (len({case["patient"] for case in part}) for part in entries.values())
        self.cases = len(cases)
        self.scribbles = sum("weak_label" in case for case in cases)
        write_dataset(self.result, dict(description))
        os.replace(self.result, self.path)

    def refuse_none(self, entries: Sequence[Entry]) -> None:
        """Refuse a conversion of which nothing is left.

        Raises:
            ValueError: there is no entry; gives the first notes.
        """
        if not entries:
            notes = "; ".join(f"{who} {what}" for who, what in self.notes[:SHOWN])
            raise ValueError(f"no case could be converted: {notes}")


@contextmanager
def preparation(out: str | os.PathLike[str]) -> Iterator[Preparation]:
    """Start a conversion in a working folder beside `out`, on the same disk, which is removed whatever happens.

    The next conversion to `out` removes that of a killed process.

    Raises:
        FileExistsError: `out` is there already and not empty.
    """
    out = Path(out)
    refuse_taken(out)
    with working_folder(out) as work:
        yield Preparation(out, work)


def refuse_missing(path: str | os.PathLike[str], advice: str, name: str = "source") -> None:
    """Refuse a path that is not there.

    Raises:
        FileNotFoundError: it is not; says what to give instead.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{name} '{path}' does not exist; {advice}")


def opened(source: str | os.PathLike[str], folder: Path, wanted: re.Pattern[str]) -> Path:
    """Give a folder with the files of `source`, unpacked to `folder` where it is an archive."""
    if Path(source).is_dir():
        return Path(source)
    unpack(source, folder, lambda name: wanted.search(name) is not None)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def visible_files(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder: each folder with the names of its files, sorted.

    Links are followed, those that lead back are not; what is hidden is left out.
    """
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), sorted(name for name in files if not name.startswith("."))


def digest_of(array: np.ndarray) -> str:
    """Give a text that is the same for the same values alone."""
    return hashlib.sha256(array.tobytes()).hexdigest()


def some(items: Sequence[object], between: str = ", ") -> str:
    """List the first items; three dots stand for the rest."""
    return between.join(map(str, items[:SHOWN])) + (" ..." if len(items) > SHOWN else "")
