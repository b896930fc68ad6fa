# SPDX-License-Identifier: Apache-2.0
"""Refuse misspelt overrides of a bundle's configuration, from the command line and from ``ConfigWorkflow`` alike.

MONAI adds an unknown top-level id silently. The first item of a bundle's ``initialize`` calls ``check_overrides``,
which compares the configuration in use with the ids that the bundle's own configuration files define.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser
from monai.utils import optional_import

RUN_ARGUMENTS = ("run_id", "config_file", "meta_file", "logging_file", "init_id", "final_id", "tracking", "args_file")


def check_overrides(folder: str, also: Sequence[str] = ()) -> None:
    """Compare the running configuration with the files of ``folder``; call it from ``initialize``.

    Args:
        folder: the bundle's ``configs``.
        also: further ids that a user's own overlay may add.

    Raises:
        ValueError: an id that no file of the bundle defines, or an argument that a component does not take; names
            the nearest one.
    """
    show_root_cause()
    parser, overlays = _running()
    if parser is None:
        return
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in (".yaml", ".yml") or p.name == "train.json")
    files += [p for p in overlays if p.is_file() and p.suffix in (".yaml", ".yml", ".json")]
    known: dict[str, Any] = {}
    for file in files:
        _merge(known, ConfigParser.load_config_file(file))
    for path, value, reference in _unknown(parser.config, known, ()):
        if not path or path[0] in also or path[0] == "_meta_":
            continue
        _refuse(path, value, reference)


def show_root_cause() -> None:
    """Repeat the first cause of an uncaught error as the last line, below MONAI's chain of wrappers."""
    if getattr(sys.excepthook, "shows_root_cause", False):
        return
    former = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        former(kind, error, trace)
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if cause is not error:
            print(f"\nError: {cause}", file=sys.stderr)

    hook.shows_root_cause = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _running() -> tuple[ConfigParser | None, list[Path]]:
    """The parser that is evaluating this call, and the configuration files that the command line named."""
    parser: ConfigParser | None = None
    overlays: list[Path] = []
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, ConfigParser):
            parser = found
        config_file = frame.f_locals.get("config_file_") or frame.f_locals.get("config_file")
        if isinstance(config_file, (str, Path)):
            overlays.append(Path(config_file))
        elif isinstance(config_file, (list, tuple)):
            overlays += [Path(str(file)) for file in config_file]
        frame = frame.f_back
    return parser, overlays


def _merge(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Union of the ids of two configurations; ids such as ``train#trainer`` and ``+id`` are written out."""
    for key, value in more.items():
        node = known
        *parents, last = str(key).lstrip("+").replace("::", "#").split("#")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        else:
            if isinstance(value, Mapping) and isinstance(node.get(last), dict):
                _merge(node[last], value)
            elif isinstance(value, Mapping):
                node[last] = {}
                _merge(node[last], value)
            elif not isinstance(node.get(last), dict):
                node[last] = value


def _unknown(
    config: Any, known: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Mapping[str, Any]]]:
    """Ids of ``config`` that ``known`` lacks: path, the component that holds it, and the known siblings."""
    if not isinstance(config, Mapping) or not isinstance(known, Mapping):
        return
    same_target = config.get("_target_") == known.get("_target_")
    for key, value in config.items():
        if key not in known:
            if (not path or same_target) and not str(key).startswith("_"):
                yield (*path, str(key)), config, known
        else:
            yield from _unknown(value, known[key], (*path, str(key)))


def _refuse(path: tuple[str, ...], holder: Any, siblings: Mapping[str, Any]) -> None:
    """Raise, unless the component that holds the id takes an argument of that name."""
    key = path[-1]
    names = [str(name) for name in siblings if not str(name).startswith("_")]
    target = holder.get("_target_") if len(path) > 1 else None
    if len(path) > 1 and target is None:
        return  # a free dictionary (settings of a user, a mapping of class names): any key may be right
    if isinstance(target, str) and not target.startswith("$"):
        accepted = _arguments(target)
        if accepted is None or key in accepted:
            return
        names = sorted({*names, *accepted})
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f"; did you mean '--{'#'.join((*path[:-1], nearest[0]))}'?" if nearest else ""
    raise ValueError(f"unknown setting '--{'#'.join(path)}'{hint} Known here: {', '.join(names[:40])}.")


def _arguments(target: str) -> set[str] | None:
    """Names of the arguments that a dotted target takes; None where it cannot be told or it takes any."""
    try:
        name = ConfigComponent(config={"_target_": target}, locator=ComponentLocator()).resolve_module_name()
        module, _, attribute = str(name).rpartition(".")
        found, there = optional_import(module, name=attribute)
    except (ImportError, ValueError):
        return None
    if not there:
        return None
    try:
        parameters = inspect.signature(cast(Any, found)).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return set(parameters)
