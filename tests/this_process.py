# SPDX-License-Identifier: Apache-2.0
"""`python -m MODULE ...` without a process of its own: importing torch and MONAI again takes longer than a tiny run."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import monai.utils.misc
import numpy as np
import torch


@contextlib.contextmanager
def restored_logging() -> Iterator[None]:
    """No handler at the root, as where Python starts; then all loggers as before.

    ``logging.config.fileConfig`` closes every handler that is listed, pytest's included.
    """
    known = [
        logging.root,
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    before = [(one, one.level, one.handlers[:], one.propagate, one.disabled) for one in known]
    listed, logging._handlerList = logging._handlerList, []
    logging.root.handlers[:] = []
    try:
        yield
    finally:
        logging._handlerList = listed
        for one in logging.root.manager.loggerDict.values():
            if isinstance(one, logging.Logger):
                one.handlers[:] = []  # of a logger that is new: it writes into what was captured
        for one, level, handlers, one.propagate, one.disabled in before:
            one.setLevel(level)
            one.handlers[:] = handlers


@contextlib.contextmanager
def restored_torch() -> Iterator[None]:
    """Random states, and what makes torch deterministic: a bundle sets them for the whole process."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), monai.utils.misc._seed
    exact, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    threads, kind = torch.get_num_threads(), torch.get_default_dtype()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        monai.utils.misc._seed = states[3]
        torch.use_deterministic_algorithms(exact, warn_only=warn)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)


@contextlib.contextmanager
def restored_variables() -> Iterator[None]:
    """Of the environment; PyTorch sets one where it is made deterministic."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def as_if_started(cwd: Path) -> Iterator[None]:
    """What belongs to the process, as where it starts in a folder; then as before."""
    path, hook, folder = sys.path[:], sys.excepthook, os.getcwd()
    with restored_variables(), restored_logging(), restored_torch(), warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.showwarning = lambda message, category, file, line, *_: print(
            warnings.formatwarning(message, category, file, line), end="", file=sys.stderr
        )
        sys.excepthook = sys.__excepthook__
        sys.path.insert(0, str(cwd))
        os.chdir(cwd)
        try:
            yield
        finally:
            os.chdir(folder)
            sys.path[:], sys.excepthook = path, hook


def run_module(module: str, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    """``python -m module words`` with its output and its exit code; what it leaves behind in the process is undone.

    An uncaught error goes to ``sys.excepthook``, which the command may have replaced, and makes the code 1. Ctrl-C and
    signals are not for this: they take a process of their own.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, imported = sys.argv, sys.modules.pop(f"{module}.__main__", None)  # runpy warns of one that is there
    with as_if_started(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = [module, *words]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as exit:
            if not (exit.code is None or isinstance(exit.code, int)):
                print(exit.code, file=sys.stderr)
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            code = 1
        finally:
            sys.argv = argv
            if imported is not None:
                sys.modules[f"{module}.__main__"] = imported
    return subprocess.CompletedProcess([sys.executable, "-m", module, *words], code, out.getvalue(), err.getvalue())
