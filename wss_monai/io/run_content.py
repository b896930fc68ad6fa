# SPDX-License-Identifier: Apache-2.0
"""The JSON files of a run folder as their readers need them; a folder may come from elsewhere, or have been edited."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json
from wss_monai.io.run_folder import RECORD, SCORED, SUMMARY

__all__ = ["read_record", "read_scored", "read_summary"]

WORDS = ("bundle", "mode", "seed", "dataset", "device", "commit", "checkpoint")
"""Entries of run.json that are a word or a number."""
PATHS = ("label", "weak_label")
MEANINGS = ("label_values", "weak_values", "label_segments", "weak_segments")
MEASURES = ("dice", "iou", "hd95_mm", "asd_mm", "volume_error_ml", "volume_error_ml_abs", "n_missed", "n_empty")
AGAIN = "run the evaluation of this run again"
START = "it is written when a run starts; give the output_dir of a run"


def read_record(folder: str | PathLike[str]) -> dict[str, Any]:
    """Read run.json.

    Raises:
        FileNotFoundError: it is not there.
        FormatFault: it is not JSON, has no class_names, or an entry that is read is of the wrong type.
    """
    path, content = _read(folder, RECORD, START, dict)
    names = content.get("class_names")
    if not names:
        raise ValueError(f"{path} has no class_names.")
    _expect(path, "class_names", names, _is_names, "a list of names")
    for key in WORDS:
        _expect(path, key, content.get(key), _is_word, "a word or a number")
    _expect(path, "max_epochs", content.get("max_epochs"), _or_none(_is_count), "a whole number")
    _expect(path, "parameters", content.get("parameters"), _is_word, "a number")
    _expect(path, "bounds_origin", content.get("bounds_origin"), _is_origin, "a word, or an object of words")
    _expect(path, "versions", content.get("versions"), _or_none(_is_words), "an object of words")
    _expect(path, "patients", content.get("patients"), _or_none(_is_parts), "an object of lists of patients")
    return dict(content)


def read_summary(folder: str | PathLike[str]) -> dict[str, Any]:
    """Read metrics_summary.json.

    Raises:
        FileNotFoundError: it is not there.
        FormatFault: it is not JSON, or a mean is no number.
    """
    path, content = _read(folder, SUMMARY, AGAIN, dict)
    for key in ("evaluated_on", "checkpoint", "seed"):
        _expect(path, key, content.get(key), _is_word, "a word or a number")
    _expect(path, "bounds_origin", content.get("bounds_origin"), _is_origin, "a word, or an object of words")
    for key, value in content.items():
        if key == "constraint_satisfaction":
            _expect(path, key, value, _or_none(_is_satisfaction), "an object of terms, each an object of numbers")
        elif key in ("weights", "failed"):
            _expect(path, key, value, _or_none(_is_words), "an object of words")
        elif key in MEASURES or (isinstance(value, Mapping) and key != "bounds_origin"):
            _expect(path, key, value, _or_none(_is_means), "an object of numbers: mean, and one a class")
    return dict(content)


def read_scored(folder: str | PathLike[str]) -> list[dict[str, Any]]:
    """Read evaluation/cases.json.

    Raises:
        FileNotFoundError: it is not there.
        FormatFault: it is not JSON, or an entry that is read is of the wrong type; names the case.
    """
    path, content = _read(folder, SCORED, AGAIN, list)
    for number, entry in enumerate(content):
        place = f"{path}, entry {number}"
        _expect(path, f"entry {number}", entry, lambda value: isinstance(value, dict), "an object")
        _expect(place, "case", entry.get("case"), _is_name, "the name of the case")
        for key in ("patient", "group", "phase"):
            _expect(place, key, entry.get(key), _is_word, "a word")
        _expect(
            place,
            "image",
            entry.get("image"),
            _or_none(lambda value: _is_name(value) or _is_names(value)),
            "a path, or several",
        )
        _expect(place, "prediction", entry.get("prediction"), _or_none(_is_name), "a path")
        for key in PATHS:
            _expect(place, key, entry.get(key), lambda value: not value or _is_name(value), "a path")
        _expect(place, "slice_axis", entry.get("slice_axis", 2), _is_axis, "0, 1 or 2")
        for key in MEANINGS:
            _expect(
                place, key, entry.get(key), _or_none(_is_meaning), "an object: what stands in the file -> class index"
            )
            if key.endswith("values"):
                _expect(place, key, entry.get(key), _or_none(_has_numbers), "an object whose keys are numbers")
    return [dict(entry) for entry in content]


def _read(folder: str | PathLike[str], name: str, advice: str, kind: type) -> tuple[Path, Any]:
    path = Path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {advice}.")
    content = read_json(path)
    if not isinstance(content, kind):
        raise FormatFault(path, f"must hold {'an object' if kind is dict else 'a list'}, got {_shown(content)}", advice)
    return path, content


def _expect(place: object, key: str, value: Any, fits: Callable[[Any], bool], must_be: str) -> None:
    if not fits(value):
        raise FormatFault(
            place, f"'{key}' must be {must_be}, got {_shown(value)}", "give a run folder as it was written"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_name, value))


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, int, float))


def _is_words(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_word, value.values()))


def _is_origin(value: Any) -> bool:
    return _is_word(value) or _is_words(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 10**12


def _is_axis(value: Any) -> bool:
    return type(value) is int and value in (0, 1, 2)


def _is_parts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        ids is None or (isinstance(ids, list) and all(isinstance(name, str) for name in ids)) for ids in value.values()
    )


def _is_means(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        number is None or (isinstance(number, Real) and math.isfinite(number)) for number in value.values()
    )


def _is_satisfaction(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_means, value.values()))


def _is_meaning(value: Any) -> bool:
    def is_index(item: Any) -> bool:
        return type(item) is int and 0 <= item <= 255

    return isinstance(value, Mapping) and all(
        is_index(item) or (isinstance(item, list) and all(map(is_index, item))) for item in value.values()
    )


def _has_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(re.fullmatch(r"-?\d{1,18}(\.0*)?", str(key)) for key in value)
