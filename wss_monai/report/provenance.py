# SPDX-License-Identifier: Apache-2.0
"""What identifies the runs of a report: command, date, data, network, bounds, versions, and the whole configuration."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wss_monai.io.json_files import read_json
from wss_monai.io.run_folder import CONFIGURATION, RECORD, SUMMARY
from wss_monai.report.facts import hardware
from wss_monai.report.run_folder import Run
from wss_monai.report.tables import bounds_text

__all__ = ["configuration_table", "provenance", "read_configuration"]

UNKNOWN = "not recorded"
LONGEST = 400
"""Letters of a setting that are shown."""


def read_configuration(run: Run) -> dict[str, Any]:
    """Read the settings that a run recorded; empty where it recorded none.

    Raises:
        ValueError: the file is not JSON.
    """
    path = run.folder / CONFIGURATION
    content = read_json(path) if path.is_file() else run.info.get("configuration")
    settings = _flat(content) if isinstance(content, Mapping) else {}
    return {name: value for name, value in settings.items() if not name.startswith("_meta_")}


def provenance(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Give (name, one text a run) of all that identifies the runs; what a run should say and does not is named."""
    settings = {run.folder: read_configuration(run) for run in runs}
    versions = list(dict.fromkeys(name for run in runs for name in run.info.get("versions") or {}))
    always: list[tuple[str, Callable[[Run], Any]]] = [
        ("Folder", lambda run: run.folder),
        ("Command", lambda run: _command(run.info.get("command"))),
        ("Training started", lambda run: _date(run.folder / RECORD, run.info.get("started"))),
        ("Bundle", lambda run: run.info.get("bundle")),
        ("Mode", lambda run: run.info.get("mode")),
        ("Seed", lambda run: run.info.get("seed")),
        ("Network", lambda run: _network(settings[run.folder])),
        ("Voxel size (pixdim), mm", lambda run: _tree(settings[run.folder], "pixdim")),
        ("Bounds from", lambda run: run.bounds_origin or "none"),
    ]
    where_there: list[tuple[str, Callable[[Run], Any]]] = [
        ("Evaluated", lambda run: _date(run.folder / SUMMARY) if run.summary is not None else None),
        ("Bounds of the scored cases", _bounds),
        ("Data folder", lambda run: settings[run.folder].get("dataset_dir")),
        ("Split", lambda run: _or_nothing(run.info.get("split"))),
        ("Fold", lambda run: _or_nothing(run.info.get("fold"))),
        ("Network weights", lambda run: _parameters(run.info.get("parameters"))),
        ("Device", hardware),
        ("Commit", lambda run: run.info.get("commit")),
    ]
    table = [(name, [_text(of(run)) or UNKNOWN for run in runs]) for name, of in always]
    found = [(name, [_text(of(run)) for run in runs]) for name, of in where_there]
    found += [(name, [_text((run.info.get("versions") or {}).get(name)) for run in runs]) for name in versions]
    return table + [(name, cells) for name, cells in found if any(cells)]


def configuration_table(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Give (id, value of each run) of all settings that any run recorded; one value where all have the same."""
    settings = [read_configuration(run) for run in runs]
    rows = []
    for name in dict.fromkeys(name for of in settings for name in of):
        texts = [_cut(_text(of[name])) if name in of else "–" for of in settings]
        rows.append((name, texts[:1] if len(set(texts)) == 1 else texts))
    return rows


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give id -> value, whether the file is a table of ids already or a tree."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}#{inner}": deep for inner, deep in _flat(value).items()}
        else:
            found[str(name)] = value
    return found


def _tree(settings: Mapping[str, Any], name: str) -> Any:
    """Give a setting whole, whose parts may stand under ids of their own: ``pixdim#0``, ``network_def#act``."""
    if name in settings:
        return settings[name]
    inner = [other.removeprefix(f"{name}#") for other in settings if other.startswith(f"{name}#")]
    keys = list(dict.fromkeys(other.partition("#")[0] for other in inner))
    parts = {key: _tree(settings, f"{name}#{key}") for key in keys}
    if not parts:
        return None
    return list(parts.values()) if all(key.isdigit() for key in keys) else parts


def _network(settings: Mapping[str, Any]) -> str | None:
    """Name the network with its arguments, such as "BasicUNet, spatial_dims 2, features [32, ...]"."""
    parts = _tree(settings, "network_def")
    if not isinstance(parts, Mapping) or "_target_" not in parts:
        return None
    words = [f"{name} {_text(value)}" for name, value in parts.items() if name != "_target_"]
    return _cut(", ".join([str(parts["_target_"]).rsplit(".", 1)[-1], *words]))


def _bounds(run: Run) -> str:
    texts = []
    for term, name in dict.fromkeys((row["term"], row["class"]) for row in run.constraints):
        rows = [row for row in run.constraints if (row["term"], row["class"]) == (term, name)]
        texts.append(f"{term} of {name}: {bounds_text(rows)}")
    return "; ".join(texts)


def _command(words: Any) -> str | None:
    """Write a command as one types it: a module in the place of its file, double quotes around single ones."""
    if not isinstance(words, list) or not words:
        return str(words) if words else None
    program, *rest = map(str, words)
    module = re.search(r"((?:monai|wss_monai)(?:/\w+)*)/__main__\.py$", program.replace("\\", "/"))
    typed = f"python -m {module[1].replace('/', '.')}" if module else shlex.quote(program)
    return " ".join([typed, *(_quoted(word) for word in rest)])


def _quoted(word: str) -> str:
    plain = re.fullmatch(r"[\w@%+=:,./#-]+", word) is not None
    return word if plain else f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _date(path: Path, recorded: Any = None) -> str | None:
    """The date that a run recorded, else that of a file that is written then."""
    if recorded:
        return str(recorded)
    if not path.is_file():
        return None
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M} (date of {path.name})"


def _or_nothing(value: Any) -> Any:
    return None if str(value) == "None" else value


def _parameters(value: Any) -> str | None:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else None if value is None else str(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        value if isinstance(value, str) else str(value) if isinstance(value, Path) else json.dumps(value, default=str)
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
