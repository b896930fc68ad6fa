# SPDX-License-Identifier: Apache-2.0
"""The rules for what a file of estimated bounds holds: it is text, and people edit it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from wss_monai.functional.interval_models import slice_features, volume_features
from wss_monai.functional.weak.features import CUES

__all__ = ["check_constants", "check_content", "check_intervals"]

KINDS = ("position", "box", "scribble")
"""Cues that a model may read."""
LARGEST = 1e4
"""Of a model's coefficients and quantiles, which are logarithms: nothing that was measured needs more."""


def check_content(content: Mapping[str, Any], terms: Mapping[str, str]) -> None:
    """Check what the transforms read; what they do not read may be anything.

    Args:
        content: the decoded file.
        terms: term -> "slice" or "volume", whose features its models take.

    Raises:
        ValueError: names the place, what must stand there, and what does.
    """
    patients = content.get("patients")
    if not isinstance(patients, list) or not all(isinstance(name, str) and name for name in patients):
        raise _fault("patients", "a list of patient names", patients)
    if type(content.get("dense")) is not int or content["dense"] < 1:
        raise _fault("dense", "the number of dense patients, 1 or more", content.get("dense"))
    for term, of_term in _object(content.get("terms"), "terms").items():
        if term not in terms:
            continue
        classes = _object(_object(of_term, f"terms.{term}").get("classes"), f"terms.{term}.classes")
        for name, models in classes.items():
            _check_class(_object(models, f"terms.{term}.classes.{name}"), f"terms.{term}.classes.{name}", terms[term])


def check_intervals(content: Mapping[str, Any], terms: Sequence[str]) -> None:
    """Check the terms whose bounds are an interval a class, whatever a weak label shows.

    Args:
        content: the decoded file, of which `check_content` has seen the rest.
        terms: their names.

    Raises:
        ValueError: names the place, what must stand there, and what does.
    """
    for term in (term for term in content["terms"] if term in terms):
        place = f"terms.{term}"
        of_term = _object(content["terms"][term], place)
        if of_term.get("other") is not None and not isinstance(of_term["other"], str):
            raise _fault(f"{place}.other", "the name of a class or null", of_term["other"])
        for name, models in _object(of_term.get("classes"), f"{place}.classes").items():
            here = f"{place}.classes.{name}"
            check_constants(_object(models, here).get("interval"), f"{here}.interval")


def check_constants(sides: Any, place: str) -> None:
    """Check a constant bound: (lower, upper), finite numbers or null, lower <= upper, upper not below 0.

    Raises:
        ValueError: it is none.
    """
    must_be = "[lower, upper], numbers or null, with lower <= upper and upper >= 0"
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        raise _fault(place, must_be, sides)
    if not all(side is None or (_is_number(side) and math.isfinite(side)) for side in sides):
        raise _fault(place, must_be, sides)
    lower, upper = sides
    if upper is not None and (upper < 0 or (lower is not None and lower > upper)):
        raise _fault(place, must_be, sides)


def _check_class(models: Mapping[str, Any], place: str, level: str) -> None:
    """Check what is known of one class: a model for each kind of cues, and what holds without tags."""
    if models.get("constant") is not None:
        check_constants(models["constant"], f"{place}.constant")
    if "position" not in models:
        raise _fault(place, "an object with a model for 'position'", sorted(models))
    for kind in KINDS:
        if kind in models:
            _check_model(_object(models[kind], f"{place}.{kind}"), f"{place}.{kind}", kind, level)
    if "unknown" in models:
        _check_profile(_object(models["unknown"], f"{place}.unknown"), f"{place}.unknown")


def _check_model(model: Mapping[str, Any], place: str, kind: str, level: str) -> None:
    if "reach" in model:
        _number(model["reach"], f"{place}.reach", 0.0, math.inf)
        return
    if model.get("kind") != kind:
        raise _fault(f"{place}.kind", repr(kind), model.get("kind"))
    count = _features(kind, level)
    coefficients = _numbers(model.get("coefficients"), f"{place}.coefficients", -LARGEST, LARGEST)
    spread = _numbers(model.get("spread"), f"{place}.spread", -LARGEST, LARGEST)
    if len(coefficients) != count or not 1 <= len(spread) <= count:
        raise _fault(place, f"a model of {count} features", [len(coefficients), len(spread)])
    _pair(model.get("quantiles"), f"{place}.quantiles", -LARGEST)
    _pair(model.get("spread_range"), f"{place}.spread_range", 1e-6)
    if "expected" in model:
        expected = _object(model["expected"], f"{place}.expected")
        _number(expected.get("factor"), f"{place}.expected.factor", 1e-6, 1e6)
        if expected.get("log_sd") is not None:
            _number(expected["log_sd"], f"{place}.expected.log_sd", 0.0, LARGEST)


def _check_profile(profile: Mapping[str, Any], place: str) -> None:
    rows = {name: _rows(profile.get(name), f"{place}.{name}") for name in ("positions", "areas")}
    if [len(row) for row in rows["positions"]] != [len(row) for row in rows["areas"]]:
        raise _fault(f"{place}.areas", "as many numbers as 'positions' has, row by row", profile.get("areas"))
    _number(profile.get("factor"), f"{place}.factor", 1.0, 1e6)
    _number(profile.get("reach"), f"{place}.reach", 0.0, 1.0)
    if profile.get("sure") is not None:
        _pair(profile["sure"], f"{place}.sure", 0.0)
    elif "sure" not in profile:
        raise _fault(f"{place}.sure", "two positions or null", None)
    if not isinstance(profile.get("directed"), bool):
        raise _fault(f"{place}.directed", "true or false", profile.get("directed"))


def _features(kind: str, level: str) -> int:
    """How many features a model of such cues reads."""
    cues, present = np.ones((1, len(CUES))), np.ones(1, bool)
    rows = slice_features(kind, cues, present) if level == "slice" else volume_features(kind, cues, present, 1.0)
    return int(rows.shape[1])


def _rows(value: Any, place: str) -> list[list[Any]]:
    if not isinstance(value, list) or not value:
        raise _fault(place, "a list of lists of numbers", value)
    return [_numbers(row, f"{place}[{i}]", 0.0, math.inf) for i, row in enumerate(value)]


def _pair(value: Any, place: str, least: float) -> None:
    pair = _numbers(value, place, least, LARGEST)
    if len(pair) != 2 or pair[0] > pair[1]:
        raise _fault(place, "two numbers, the smaller one first", value)


def _numbers(value: Any, place: str, least: float, most: float) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _fault(place, "a list of numbers", value)
    return [_number(item, f"{place}[{i}]", least, most) for i, item in enumerate(value)]


def _number(value: Any, place: str, least: float, most: float) -> Any:
    if not _is_number(value) or not math.isfinite(value) or not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        raise _fault(place, f"a finite number {limits}", value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _fault(place, "an object", value)
    return value


def _fault(place: str, must_be: str, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(f"'{place}' must be {must_be}, got {shown if len(shown) <= 200 else shown[:200] + ' ...'}")
