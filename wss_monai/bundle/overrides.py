# SPDX-License-Identifier: Apache-2.0
"""Refuse misspelt overrides of a bundle's configuration, from the command line and from ``ConfigWorkflow`` alike.

MONAI adds an unknown id silently. The first item of a bundle's ``initialize`` calls ``check_overrides``, which compares
the configuration in use with the bundle's own files. An id that they do not have is an addition of the user when
something refers to it (``@id``) or a component takes it as an argument; otherwise it would have no effect, and is
refused. So is an id in a user's own file. Then texts that stand for a value become the value
(`wss_monai.bundle.setting_values`).
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ConfigWorkflow
from monai.bundle.properties import TrainProperties
from monai.utils import BundlePropertyConfig, optional_import

from wss_monai.bundle.given_data import settle_data
from wss_monai.bundle.setting_values import settle_values
from wss_monai.bundle.user_errors import show_user_errors

BASE = "train"
"""Stem of the file that overlays change; only its ids may stand unused."""

REFERENCE = re.compile(r"[@%]((?:\w|#|::)+)")
RECORD = "same_when_resumed"
"""An id that notes other settings; to be noted is no use of them."""

MEANT = {
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "epoch"), "max_epochs"),
    **dict.fromkeys(("iters", "steps", "max_steps", "max_iterations", "num_iterations", "max_iters"), "iterations"),
    **dict.fromkeys(("iterations_per_epoch", "epoch_length", "num_iterations_per_epoch"), "epoch_iterations"),
    **dict.fromkeys(("batch", "bs"), "batch_size"),
    **dict.fromkeys(("data", "data_dir", "dataset", "data_path"), "dataset_dir"),
    **dict.fromkeys(("out", "output", "out_dir"), "output_dir"),
    **dict.fromkeys(("classes", "labels"), "class_names"),
    **dict.fromkeys(("spacing", "voxel_size"), "pixdim"),
    **dict.fromkeys(("bounds", "size"), "size_bounds"),
    **dict.fromkeys(("patience",), "early_stopping"),
    **dict.fromkeys(("in_channels", "channels"), "network_def#in_channels"),
}
"""Names that other programs have -> the setting that is meant."""

MONAI = "monai.bundle.scripts"
"""The logger that lists all settings, dated, once a configuration has been read."""
SUFFIXES = (".yaml", ".yml", ".json")


def check_overrides(folder: str, also: Sequence[str] = ()) -> None:
    """Compare the running configuration with the files of ``folder``; call it from ``initialize``.

    Args:
        folder: the bundle's ``configs``.
        also: further ids that a user's own overlay may add.

    Raises:
        ValueError: an id that no file of the bundle defines and that nothing uses, or an argument that a component does
            not take; names the nearest one. A value that its setting cannot have, see ``settle_values``.
    """
    show_user_errors()
    logging.getLogger(MONAI).setLevel(logging.WARNING)
    parser, run_ids = running()
    if parser is None or not isinstance(parser.config, Mapping):
        return
    base, known = _known(Path(folder))
    for name in {*also, *run_ids, ConfigParser.meta_key}:
        base[name] = known[name] = None
    for key, value in settle_data(parser.config, base).items():
        parser[key] = value
    used = set(references(parser.config))
    for key, value in parser.config.items():
        idle = key not in base and not _read((key,), used)
        if idle and key not in known:
            _refuse((), key, {*base, *(name for name in parser.config if name in known)})
        if idle and not _as_in_file(value, known[key]):
            raise ValueError(f"setting '--{key}' has no effect here: it belongs to another configuration file.")
    _check(parser.config, known, (), used | set(references(known)))
    for key, value in settle_values(parser.config, known).items():
        parser[key] = value


def running() -> tuple[ConfigParser | None, list[str]]:
    """The parser that evaluates this call, and ids that MONAI itself adds.

    They are looked up among the callers of this function, by their local name ``self``. MONAI 1.6.1 hands an expression
    of a configuration nothing but the objects that it refers to, and ``monai.bundle run`` takes no workflow class of
    another package (``run_workflow`` does, but asks for other commands). Where nothing is found nothing is checked.
    """
    parser: ConfigParser | None = None
    run_ids: list[str] = []
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, ConfigParser):
            parser = found
        elif isinstance(found, ConfigWorkflow):
            run_ids += [str(found.init_id), str(found.run_id), str(found.final_id)]
        elif type(found).__module__.startswith("monai.fl."):
            run_ids.append("run_name")  # the federated client adds it, for experiment tracking
        frame = frame.f_back
    return parser, run_ids


def _known(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ids of the base file, and ids of all files that change the base file."""
    base: dict[str, Any] = {}
    known: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in SUFFIXES or file.stem == "metadata" or file.stem.startswith("inference"):
            continue  # inference is a workflow of its own
        content = ConfigParser.load_config_file(file)
        _merge(known, content)
        if file.stem == BASE:
            _merge(base, content)
    return base, known


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


def references(config: Any) -> Iterator[str]:
    """Ids that the texts of a configuration refer to."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from () if key == RECORD else references(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from references(value)
    elif isinstance(config, str):
        for match in REFERENCE.findall(config):
            yield match.replace("::", "#").strip("#")


def _read(path: Sequence[str], used: set[str]) -> bool:
    """Whether something refers to an id or to a part of it."""
    text = "#".join(path)
    return text in used or any(reference.startswith(f"{text}#") for reference in used)


def _as_in_file(value: Any, written: Any) -> bool:
    """Whether a value is as a file has it (macros have been replaced meanwhile)."""
    plain = isinstance(written, Mapping) or value == written
    return plain or (isinstance(written, str) and written.startswith("%"))


def _check(config: Any, known: Any, path: tuple[str, ...], used: set[str], inside: bool = False) -> None:
    """Refuse unknown ids below ``path``: arguments that a component does not take, and ids that nothing reads.

    ``inside`` a component, and where the configuration refers to a dictionary as a whole, its keys are data (names of
    classes, terms, choices) and any may be right.
    """
    if not isinstance(config, Mapping) or not isinstance(known, Mapping):
        return
    target = config.get("_target_")
    component = isinstance(target, str)
    accepted = _arguments(str(target)) if component else set()
    names = {str(key) for key in known} if target == known.get("_target_") else set()
    free = accepted is None or (not component and (inside or not path or "#".join(path) in used))
    for key, value in config.items():
        name = str(key)
        right = free or name.startswith("_") or name in names or name in (accepted or ())
        if not right and not _read((*path, name), used):
            _refuse(path, name, accepted or names)
        if key in known:
            _check(value, known[key], (*path, name), used, inside or component)


def _refuse(path: tuple[str, ...], key: str, siblings: Iterable[str]) -> None:
    """Raise, with the nearest of the ids that stand at this place."""
    names = sorted(str(name) for name in siblings if not str(name).startswith("_"))
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    found = _elsewhere(key, siblings) or ["#".join((*path, name)) for name in nearest]
    hint = f"; did you mean '--{found[0]}'?" if found else "."
    raise ValueError(f"unknown setting '--{'#'.join((*path, key))}'{hint} Known here: {', '.join(names[:40])}.")


def _elsewhere(key: str, siblings: Iterable[str]) -> list[str]:
    """The setting that another program calls ``key``, and ids of MONAI's bundle properties that end with it."""
    if (meant := MEANT.get(key, "")).partition("#")[0] in siblings:
        return [meant]
    ids = [str(value[BundlePropertyConfig.ID]).replace("::", "#") for value in TrainProperties.values()]
    return [name for name in ids if name.split("#")[-1] == key]


@functools.cache
def _locator() -> ComponentLocator:
    """MONAI's table of its own classes, which takes a tenth of a second to make."""
    return ComponentLocator()


def _arguments(target: str) -> set[str] | None:
    """Names of the arguments that a target takes; None where it cannot be told or it takes any."""
    if target.startswith("$"):
        return None
    try:
        name = ConfigComponent(config={"_target_": target}, locator=_locator()).resolve_module_name()
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
