# SPDX-License-Identifier: Apache-2.0
"""All that a configuration says, for a resumed run to compare."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from monai.bundle import ConfigParser

from wss_monai.bundle.overrides import RECORD, references, running

__all__ = ["as_ids", "read_by_training", "whole_configuration"]

FREE: tuple[str, ...] = (
    "imports",
    "bundle_root",
    "home",
    "dataset_dir",
    "datalist",
    "output_dir",
    "device",
    "resume",
    "overwrite",
    "compile",
    "cudnn_benchmark",
    "store",
    "store_dir",
    "workers",
    "validation_cache",
    RECORD,
)
FREE += ("initialize", "run", "training", "finalize", "train#trainer#max_epochs", "max_epochs", "iterations")
FREE += ("epoch_iterations", "quiet", ConfigParser.meta_key)
"""Ids that a resumed run may have otherwise: where files are, where and how it computes, and how long it trains. The
data set itself is compared, not its place, and of an epoch the length that comes of its settings."""
PROCESSES: tuple[str, ...] = ("is_cuda", "network", "shared_buffers", "train#trainer#train_handlers")
PROCESSES += ("validate#dataset#data", "validate#evaluator#network")
"""Ids that an overlay for several processes sets; their number may be another one."""
NOTED = ("progress", "print_lr", "recorded")
"""Arguments that change what the terminal shows or the run's folder notes, and nothing else."""
PROGRESS = "ignite.handlers.ProgressBar"


def whole_configuration() -> dict[str, Any]:
    """Give id -> what the running configuration says there, but for `FREE`, `PROCESSES` and what the screen shows.

    An expression of a bundle calls it. The files and overrides are laid over each other and their macros filled in;
    references and expressions are compared as they are written, the settings that they refer to by their own ids.

    Returns:
        The ids that training reads, with ``#`` between their parts, and values that JSON can hold. Nothing where no
        configuration is found that evaluates this call.
    """
    parser = running()[0]
    found = {} if parser is None else as_ids(read_by_training(cast(dict[str, Any], parser.config)))
    return dict(sorted(found.items()))


def read_by_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what ``train`` refers to, itself or by what it refers to: what other overlays add changes no training."""
    found: dict[str, Any] = {}
    todo = ["train"]
    while todo:
        name = todo.pop()
        if name in config and name not in found and name != RECORD:
            found[name] = config[name]
            todo += [reference.partition("#")[0] for reference in references(config[name])]
    return {name: config[name] for name in config if name in found}


def as_ids(config: Any, everything: bool = False) -> dict[str, Any]:
    """Give id -> value of all that has no parts, and of empty lists and dictionaries.

    Args:
        config: what files and overrides say.
        everything: also what a resumed run may have otherwise.
    """
    found: dict[str, Any] = {}
    _add(config, (), found, everything)
    return found


def _add(value: Any, path: tuple[str, ...], found: dict[str, Any], everything: bool) -> None:
    name = "#".join(path)
    if not everything and (name in FREE or name in PROCESSES or (path and path[-1] in NOTED)):
        return
    if isinstance(value, Mapping) and value and value.get("_target_") != PROGRESS:
        for key, part in value.items():
            _add(part, (*path, str(key)), found, everything)
    elif isinstance(value, (list, tuple)) and value:
        for index, part in enumerate(value):
            _add(part, (*path, str(index)), found, everything)
    elif not (isinstance(value, Mapping) and value):
        found[name] = json.loads(json.dumps(value, default=_plain), parse_constant=_word if everything else None)


def _plain(value: Any) -> str:
    """An object that a program put into a configuration, as text that is the same in another process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _word(constant: str) -> str:
    """NaN and infinity as words: files of JSON hold no such numbers."""
    return constant
