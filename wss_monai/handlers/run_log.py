# SPDX-License-Identifier: Apache-2.0
"""What the console says, in a file of the run's folder."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from ignite.engine import Engine, Events

from wss_monai.io.faults import one_line
from wss_monai.io.processes import first_process
from wss_monai.io.run_folder import LOG

__all__ = ["RunLog"]

FEW = 1000
"""Iterations below which a run is told to be short."""
logger = logging.getLogger(__name__)


class RunLog:
    """Write what is printed and warned of while an engine runs to ``log.txt`` too; process 0 alone does.

    A training begins the file anew unless it is resumed; an evaluation is appended. The file begins with the command
    and how long it will train, and ends with the time that it took or the error. Progress bars are not in it.

    Args:
        output_dir: the run's folder.
        doing: "training" or "evaluation".
        quiet: nothing is printed on the console but warnings and errors.
        few: iterations below which a training is warned of as short; 0: never.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], doing: str = "training", quiet: bool = False, few: int = FEW
    ) -> None:
        self.path = Path(output_dir) / LOG
        self.doing = doing
        self.quiet = quiet
        self.few = few
        self.file: TextIO | None = None
        self.console: Any = None
        self.handler: logging.Handler | None = None
        self.started = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``; attach it after the handler that takes the folder, and after all that print."""
        if first_process():
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.COMPLETED, self._complete)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        state: Any = engine.state
        training = self.doing == "training"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if training and not state.epoch:
            self.path.unlink(missing_ok=True)
        for handler in [one for one in logging.getLogger().handlers if isinstance(one, _LogHandler)]:
            logging.getLogger().removeHandler(handler)  # of an engine that Ctrl-C left, and no event told of it
            handler.stream.close()
        self.file = self.path.open("a", encoding="utf-8", buffering=1)
        self.started = time.perf_counter()
        self.file.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {self.doing}: {_command(sys.argv)}\n")
        self.handler = _LogHandler(self.file)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self.handler)
        self.console = sys.stdout
        while isinstance(self.console, _Both):
            self.console = self.console.console or sys.__stdout__
        sys.stdout = _Both(None if self.quiet else self.console, self.file)
        if training:
            self._tell_length(state)

    def _tell_length(self, state: Any) -> None:
        epochs, length = state.max_epochs or 0, state.epoch_length or 0
        total = epochs * length
        went_on = f", the first {state.epoch} of them done" if state.epoch else ""
        print(f"{epochs} epoch{'' if epochs == 1 else 's'} of {length} iterations, {total} in all{went_on}")
        if total < self.few:
            logger.warning(
                "%d iterations are a short training, whose result may tell little; 4000 are usual for a small network "
                "(--iterations 4000, or more --max_epochs).", total,
            )  # fmt: skip

    def _complete(self, engine: Engine) -> None:
        if self.file is not None:
            self.file.write(f"== {self.doing} done in {time.perf_counter() - self.started:.0f} s\n")
        self._end()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        if self.file is not None:
            self.file.write(f"== Error: {one_line(error)}\n")
        self._end()
        raise error

    def _end(self) -> None:
        if self.file is None:
            return
        if isinstance(sys.stdout, _Both):
            sys.stdout = self.console
        if self.handler is not None:
            logging.getLogger().removeHandler(self.handler)
        self.file.close()
        self.file = None


def _command(words: Sequence[str]) -> str:
    """A command line as one types it; a list of files in double quotes, since it holds single ones."""
    plain = [f'"{word}"' if "'" in word and not set(word) & set('"$`\\\\') else shlex.quote(word) for word in words]
    return " ".join(plain)


class _LogHandler(logging.StreamHandler):
    """What is logged goes to the file as well."""


class _Both:
    """A stream that writes to the console, if any, and to the log."""

    def __init__(self, console: Any, log: TextIO) -> None:
        self.console = console
        self.log = log

    def write(self, text: str) -> int:
        self.log.write(text)
        return len(text) if self.console is None else self.console.write(text)

    def flush(self) -> None:
        for stream in (self.console, self.log):
            if stream is not None:
                stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log if self.console is None else self.console, name)
