# SPDX-License-Identifier: Apache-2.0
"""How a run takes its output folder: alone, over nothing that it did not write, and with a way back."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from ignite.engine import Engine, Events

from wss_monai.bundle.interruption import leave_as_before, tell_when_stopped
from wss_monai.io.atomic_files import check_writable, sweep
from wss_monai.io.folder_lock import release, take
from wss_monai.io.run_folder import (
    CASES,
    CONSTRAINTS,
    EVALUATION,
    PREDICTIONS,
    SCORED,
    SLICE_TAGS,
    SLICES,
    SUMMARY,
    TAGS,
)

__all__ = ["Hold", "digest_of_file", "refuse_data_set", "remove_evaluation"]

SCORES = (SUMMARY, SCORED, TAGS, CASES.file, SLICES.file, CONSTRAINTS.file, SLICE_TAGS.file)
PICTURES = ((PREDICTIONS, "*.nii.gz"), (f"{EVALUATION}/maps", "*.nii.gz"), (f"{EVALUATION}/figures", "*.png"))


class Hold:
    """Keep an output folder for this process while an engine runs.

    Args:
        folder: of the run.
        doing: a word for the message to another process: "training", "evaluation".
        tell: gives what Ctrl-C and SIGTERM shall say; None: nothing.
    """

    def __init__(self, folder: str | os.PathLike[str], doing: str, tell: Callable[[], str] | None = None) -> None:
        self.folder = Path(folder)
        self.doing = doing
        self.tell = tell

    def attach(self, engine: Engine) -> None:
        """Let the folder go when ``engine`` has ended, and let it not log each error twice that is shown anyway."""
        engine.add_event_handler(Events.COMPLETED, self.end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.end)
        engine.logger.addFilter(_not_the_end)

    def begin(self) -> None:
        """Take the folder, and remove what killed processes left half written in it; call it when the engine starts.

        Raises:
            ValueError: it cannot be written, holds a data set, or another process writes to it.
        """
        check_writable(self.folder)
        refuse_data_set(self.folder)
        take(self.folder, self.doing)
        sweep(self.folder)
        if self.tell is not None:
            tell_when_stopped(self.tell)

    def end(self, engine: Engine, error: BaseException | None = None) -> None:
        """Let the folder go; an error goes on its way."""
        release(self.folder)
        if self.tell is not None and not isinstance(error, KeyboardInterrupt):
            leave_as_before()
        if error is not None:
            raise error


def refuse_data_set(folder: str | os.PathLike[str]) -> None:
    """Refuse the folder of a data set.

    Raises:
        ValueError: it is one.
    """
    if (Path(folder) / "dataset.json").is_file():
        raise ValueError(f"{folder} is the folder of a data set: choose another --output_dir.")


def remove_evaluation(folder: str | os.PathLike[str]) -> None:
    """Remove the scores, predictions and figures that an evaluation wrote; what else is there stays.

    Raises:
        OSError: they cannot be removed.
    """
    folder = Path(folder)
    files = [folder / name for name in SCORES]
    files += [file for place, ending in PICTURES for file in (folder / place).glob(ending)]
    for file in files:
        file.unlink(missing_ok=True)
    for place in (*(place for place, _ in PICTURES), EVALUATION):
        try:
            (folder / place).rmdir()
        except OSError:  # not there, or somebody else's files are in it
            continue


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_the_end(record: logging.LogRecord) -> bool:
    return re.match(r"(Engine|Current) run is terminating due to exception", str(record.msg)) is None
