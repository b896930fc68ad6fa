# SPDX-License-Identifier: Apache-2.0
"""The settings of an app folder, `app.yaml`: what stored labels mean, and how each bundle is trained."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_text
from wss_monai.io.yaml_files import check_yaml

__all__ = ["APP_FILE", "AppSettings", "BundleSettings", "read_settings"]

APP_FILE = "app.yaml"
SUBMITTED = ("drawing", "complete")


@dataclass(frozen=True)
class BundleSettings:
    """How a bundle is used.

    Attributes:
        settings: overrides of its configuration by id, for training and, of those that inference has too, for both.
        overlays: files of its `configs`, such as "cpu.yaml"; inference takes "inference_cpu.yaml" where there is one.
        endings: of a network of several modalities, how the file names of each end, such as "_T2" and "_ADC".
    """

    settings: dict[str, Any] = field(default_factory=dict)
    overlays: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()


@dataclass(frozen=True)
class AppSettings:
    """What an app knows of its labels and bundles.

    Attributes:
        submitted: what "Submit Label" stores: "drawing", in which what is not drawn is unknown, or "complete", a dense
            label.
        outside: name of the segment that marks background in a drawing; Slicer's module drops one called "background".
        values: file value -> class name, outside or "unlabelled", of labels that were stored without names.
        undrawn_means_absent: whether a class that is not drawn in a slice (3D: volume) is absent there.
        patient: a regular expression on the ids of images whose group `patient` names the person; None: an image each.
        bundles: by the name of their folder in `model`.
    """

    submitted: str = "drawing"
    outside: str = "outside"
    values: dict[int, str] | None = None
    undrawn_means_absent: bool = False
    patient: re.Pattern[str] | None = None
    bundles: dict[str, BundleSettings] = field(default_factory=dict)


def read_settings(folder: str | os.PathLike[str]) -> AppSettings:
    """Read the settings of an app folder.

    Raises:
        ValueError: the file is no YAML, or a setting is unknown or of another kind; names it.
    """
    file = Path(folder) / APP_FILE
    if not file.is_file():
        return AppSettings()
    text = read_text(file)
    check_yaml(text, str(file))
    content = _mapping(yaml.safe_load(text) or {}, "the file", file)
    _refuse_unknown(content, AppSettings, "", file)
    base = AppSettings()
    submitted = content.get("submitted", base.submitted)
    if submitted not in SUBMITTED:
        raise FormatFault(file, f"'submitted' must be one of {list(SUBMITTED)}, got {submitted!r}")
    outside = content.get("outside", base.outside)
    if not isinstance(outside, str) or outside.lower() == "background":
        raise FormatFault(
            file, f"'outside' must be a name other than background, which 3D Slicer's module drops, got {outside!r}"
        )
    absent = content.get("undrawn_means_absent", False)
    if not isinstance(absent, bool):
        raise FormatFault(file, f"'undrawn_means_absent' must be true or false, got {absent!r}")
    values = content.get("values")
    bundles = _mapping(content.get("bundles") or {}, "'bundles'", file)
    return AppSettings(
        submitted,
        outside,
        None if values is None else _values(values, file),
        absent,
        _patient(content.get("patient"), file),
        {str(name): _bundle(section, f"bundles.{name}", file) for name, section in bundles.items()},
    )


def _bundle(section: Any, name: str, file: Path) -> BundleSettings:
    content = _mapping(section or {}, f"'{name}'", file)
    _refuse_unknown(content, BundleSettings, f"{name}.", file)
    settings = _mapping(content.get("settings") or {}, f"'{name}.settings'", file)
    return BundleSettings(
        {str(key): value for key, value in settings.items()},
        _texts(content.get("overlays"), f"{name}.overlays", file),
        _texts(content.get("endings"), f"{name}.endings", file),
    )


def _values(values: Any, file: Path) -> dict[int, str]:
    table = _mapping(values, "'values'", file)
    if not all(str(key).isdigit() and isinstance(name, str) for key, name in table.items()):
        raise FormatFault(file, f"'values' must map file values to names, as in 1: LV; got {values!r}")
    return {int(key): name for key, name in table.items()}


def _patient(text: Any, file: Path) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except (re.error, TypeError) as error:
        raise FormatFault(file, f"'patient' {text!r} is no regular expression: {error}") from error
    if "patient" not in pattern.groupindex:
        raise FormatFault(file, f"'patient' {text!r} has no group of this name", "write '(?P<patient>[^_]+)_.*'")
    return pattern


def _texts(value: Any, name: str, file: Path) -> tuple[str, ...]:
    value = [] if value is None else value
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise FormatFault(file, f"'{name}' must be a list of texts, got {value!r}")
    return tuple(value)


def _mapping(value: Any, name: str, file: Path) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise FormatFault(file, f"{name} must be names with values, got {value!r}")
    return value


def _refuse_unknown(content: Mapping[Any, Any], kind: type, prefix: str, file: Path) -> None:
    known = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise FormatFault(
                file, f"'{prefix}{key}' is no setting; there are {known}", f"did you mean '{near[0]}'?" if near else ""
            )
