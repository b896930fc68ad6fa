# SPDX-License-Identifier: Apache-2.0
"""Values of settings as a user writes them: words that mean a value are taken for it, impossible ones are refused.

The command line and YAML hand on texts where a value is meant: ``--resume false`` is the text "false", which Python
takes for true; ``learning_rate: 1e-3`` is a text in YAML 1.1; ``~`` is for a shell to expand. ``settle_values`` puts
the values in their place before anything of a configuration is made.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["settle_values"]

COMPUTED = ("$", "@", "%")
"""First characters of a value that MONAI computes."""
BOOLEANS = {"true": True, "false": False}
TRUE_OR_FALSE = ("keep_largest", "resume", "overwrite", "quiet")
"""Settings whose default may be computed, and that are true or false all the same."""
OR_ARGUMENTS = ("compile",)
"""Settings that are true, false or a dictionary of arguments."""
PATHS = ("dataset_dir", "output_dir", "ckpt_path", "bounds_file", "split", "store_dir")
NULLABLE = ("iterations", "epoch_iterations", "early_stopping", "initialize_from", "stretch", "levels")
"""Settings that may be none, for which the command line has the word null."""
NAMES_TOO = ("validation", "dense", "labelled")
"""Settings that take a number, or names that may be made of digits."""
WORDS_TOO = ("threshold",)
"""Settings that take a number or a word."""
SMALLEST, LARGEST = 1e-4, 1e3
"""Edge lengths of a voxel in mm that are no mistake of units."""
AXIS = 100_000
"""Voxels along an axis."""


@dataclass(frozen=True)
class _Rule:
    """What a setting must be, in words and as a test of a value that is not computed."""

    words: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and low < value <= high and math.isfinite(value)
    )


def _list(each: Callable[[Any], bool], least: int = 2, most: int = 3) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, (list, tuple))
        and least <= len(value) <= most
        and all(_computed(item) or each(item) for item in value)
    )


def _edge(value: Any) -> bool:
    return _number(-math.inf, 0)(value) or (_number(0, LARGEST)(value) and value >= SMALLEST)


def _rising(value: Any) -> bool:
    return _list(lambda item: item == 0 or _number(0, 100)(item), 2, 2)(value) and value[0] < value[1]


def _arguments_of_compile(value: Any) -> bool:
    known = set(inspect.signature(torch.compile).parameters) - {"model"}
    return isinstance(value, bool) or (isinstance(value, Mapping) and set(value) <= known)


def _distinct(value: Any) -> bool:
    return _list(lambda name: isinstance(name, str), 2, 255)(value) and len(set(value)) == len(value)


EXTENT = _Rule(f"2 or 3 whole numbers of voxels up to {AXIS}, -1 for the whole axis", _list(_whole(-1, AXIS)))
FRAME = _Rule(f"3 whole numbers of voxels up to {AXIS}, -1 for the whole axis", _list(_whole(-1, AXIS), 3))
COUNT = _Rule("a whole number of at least 1", _whole(1))
RULES = {
    "batch_size": COUNT,
    "val_interval": COUNT,
    "schedule_epochs": COUNT,
    "patches_per_volume": COUNT,
    "train#trainer#max_epochs": COUNT,
    "max_epochs": COUNT,
    "iterations": COUNT,
    "epoch_iterations": COUNT,
    "seed": _Rule("a whole number from 0 to 4294967295", _whole(0, 2**32 - 1)),
    "learning_rate": _Rule("a number above 0 and at most 1000", _number(0, 1000)),
    "compile": _Rule("true, false or arguments of torch.compile", _arguments_of_compile),
    "pseudo_pieces": _Rule("any, one or all", lambda value: value in ("any", "one", "all")),
    "slice_axis": _Rule("0, 1 or 2", _whole(0, 2)),
    "pixdim": _Rule(f"2 or 3 edges of a voxel in mm, {SMALLEST:g} to {LARGEST:g}, -1 for the file's own", _list(_edge)),
    "crop": FRAME,
    "field": FRAME,
    "stretch": FRAME,
    "stretch_mode": _Rule("nearest, linear or aligned", lambda value: value in ("nearest", "linear", "aligned")),
    "percentiles": _Rule("two rising numbers from 0 to 100", _rising),
    "levels": _Rule("a whole number of at least 2", _whole(2)),
    "window": EXTENT,
    "patch_size": EXTENT,
    "class_names": _Rule("a list of at least two different names, background first", _distinct),
    "device": _Rule("cpu, cuda or cuda:NUMBER", lambda value: isinstance(value, torch.device) or _is_device(value)),
    **{name: _Rule("true or false", lambda value: isinstance(value, bool)) for name in TRUE_OR_FALSE},
    **{
        name: _Rule("a path, in quotes where it is a number", lambda value: isinstance(value, (str, Path)))
        for name in PATHS
    },
}
"""Id of a setting -> what it must be, where a file of the bundle has it with a value, and the user gives one."""


def settle_values(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Values to replace in a configuration, by id; raise for those that cannot be.

    Where the bundle's files have true, false or a number, "true" and "false" in any case and the texts of numbers are
    taken for the values, in lists as well. Of the settings of ``RULES`` whole numbers may be written as 8.0; a device
    is named by its word, and ~ in a path is the home folder.

    Args:
        config: the configuration in use, before anything of it is computed.
        known: the defaults of the bundle's files, with nested ids as dictionaries.

    Returns:
        Id -> value, such as {"resume": False}.

    Raises:
        ValueError: a value that the setting cannot have; names the setting and what it takes.
    """
    changed: dict[str, Any] = {}
    for path, value, default in _leaves(config, known, ()):
        name = "#".join(path)
        meant = _meant(name, value, default)
        if meant is not value:
            changed[name] = meant
    for name, rule in RULES.items():
        value = changed.get(name, _at(config, name))
        if value is None or _computed(value) or (_at(known, name) is None and name not in (*PATHS, *NULLABLE)):
            continue
        value = _rounded(value)
        if name in PATHS and isinstance(value, str) and value.startswith("~"):
            changed[name] = str(Path(value).expanduser())
        if not rule.holds(value):
            raise ValueError(f"setting '--{name}' must be {rule.words}; got {value!r}.")
        if name == "device" and isinstance(value, str):
            changed[name] = f"$__import__('torch').device({value!r})"
        elif value is not _at(config, name) and name not in changed:
            changed[name] = value
    return changed


def _leaves(config: Any, known: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Places that are no dictionary in the bundle's files, with the value in use and the default."""
    if not isinstance(config, Mapping) or not isinstance(known, Mapping):
        return
    for key, value in config.items():
        if key not in known or str(key).startswith("_"):
            continue
        name = "#".join((*path, str(key)))
        if not path and name not in RULES:  # arguments of a component are its own affair
            _refuse_other_kind(name, value, known[key])
        if isinstance(known[key], Mapping):
            yield from _leaves(value, known[key], (*path, str(key)))
        else:
            yield (*path, str(key)), value, known[key]


def _refuse_other_kind(name: str, value: Any, default: Any) -> None:
    """Refuse a number, a list or names with values in the place of one another; what is computed or absent passes."""
    absent = value is None and (not isinstance(default, Mapping) or "_target_" in default)
    if absent or _computed(value):
        return
    if isinstance(default, Mapping) and not isinstance(value, Mapping):
        example = ", ".join(f"{key}: ..." for key in list(default)[:3]) or "NAME: ..."
        raise ValueError(f"setting '--{name}' must be names with values, {{{example}}}; got {value!r}.")
    if isinstance(default, (list, tuple)) and isinstance(value, (str, Mapping, bool)):
        raise ValueError(f"setting '--{name}' must be a list; got {value!r}.")
    kinds = (list, tuple, Mapping, bool) if name in WORDS_TOO else (list, tuple, Mapping, bool, str)
    if _is_number(default) and name not in NAMES_TOO and isinstance(_as_number(name, value), kinds):
        raise ValueError(f"setting '--{name}' must be a number; got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _meant(name: str, value: Any, default: Any) -> Any:
    """The value that a text stands for beside a default; the very same object where it stands for itself."""
    if name in NULLABLE:
        if isinstance(value, str) and value.lower() in ("null", "none", "~"):
            return None
        return _as_number(name, value)
    if isinstance(default, bool) or name in TRUE_OR_FALSE:
        if isinstance(value, str) and value.lower() in BOOLEANS:
            return BOOLEANS[value.lower()]
        said = isinstance(value, bool) or _computed(value) or (name in OR_ARGUMENTS and isinstance(value, Mapping))
        if not said and isinstance(default, bool):
            raise ValueError(f"setting '--{name}' must be true or false; got {value!r}.")
        return value
    if isinstance(default, (int, float)) and name not in NAMES_TOO:
        return _as_number(name, value)
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)) and _all_numbers(default):
        meant = [_as_number(name, item) for item in value]
        return value if all(a is b for a, b in zip(meant, value, strict=True)) else meant
    return value


def _as_number(name: str, value: Any) -> Any:
    if isinstance(value, str) and not _computed(value) and re.fullmatch(r"\s*[-+.\d][-+.\deE_]*\s*", value):
        try:
            number = float(value)
        except ValueError:
            return value
        value = _rounded(number)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"setting '--{name}' must be a finite number; got {value!r}.")
    return value


def _all_numbers(default: Sequence[Any]) -> bool:
    return bool(default) and all(_is_number(item) for item in default)


def _rounded(value: Any) -> Any:
    """8 for 8.0, also in a list."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, (list, tuple)) and any(_rounded(item) is not item for item in value):
        return [_rounded(item) for item in value]
    return value


def _computed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(COMPUTED)


def _is_device(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        torch.device(value)
    except RuntimeError:
        return False
    return True


def _at(config: Any, name: str) -> Any:
    """What stands at an id; None where there is none."""
    for key in name.split("#"):
        if not isinstance(config, Mapping) or key not in config:
            return None
        config = config[key]
    return config
