# SPDX-License-Identifier: Apache-2.0
"""The file `constraints.json` of an nnU-Net data set: what is known of the sizes of its classes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import Any

from torch import nn

from wss_monai.functional.descriptors import Size
from wss_monai.functional.intervals import check_interval, pairs_of
from wss_monai.functional.touched_pieces import PIECES
from wss_monai.io.json_files import read_json
from wss_monai.losses import enforcer

__all__ = ["Constraints", "NAME", "VARIABLE", "find_constraints", "read_constraints"]

NAME = "constraints.json"
VARIABLE = "WSS_MONAI_CONSTRAINTS"
"""Environment variable that names another file."""
WEIGHTS = {"quadratic": 0.3, "relu": 0.09, "logbarrier": 0.003, "augmented_lagrangian": 0.003, "primal_dual": 0.3}
"""Enforcer -> weight of the size term, as in the bundles: chosen on ACDC slices, without nnU-Net."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"primal_dual": {"damping": 0.1}}
"""Enforcer -> settings that are not its defaults, as in the bundles."""


@dataclass(frozen=True)
class Constraints:
    """What the file says; the keys are those of the bundles' settings.

    Attributes:
        size_bounds: class -> (lower, upper) of its area in a slice, mm2; for the configuration 2d.
        volume_bounds: class -> (lower, upper) of its volume, ml; for the configurations in 3D.
        enforcer: how the bounds are enforced, one of ``wss_monai.losses.ENFORCERS``; None: "logbarrier".
        enforcers: enforcer -> settings, as in the bundles. ``per`` "sample" is a multiplier for each training case.
        penalty: the former name of ``enforcer``.
        size_weight: of the size term; None: that of the enforcer, as in the bundles.
        stated_sizes: class -> mean volume over the training cases, ml; they act on pseudo-labels.
        pseudo_weight: of the loss on pseudo-labels; None: 0.5 with `stated_sizes`, else 0.
        pseudo_start, pseudo_ramp: fractions of the run without them, and in which their weight rises.
        pseudo_pieces: as of `wss_monai.losses.MixedLabelLoss`.
        set_size_count: training cases in each solution of the stated sizes.
        zoom: keep nnU-Net's random zoom, and widen the bounds by its range; false: no zoom, bounds as they are.
        epochs: of the training; None: nnU-Net's 1000.
    """

    size_bounds: Mapping[str, Any] = field(default_factory=dict)
    volume_bounds: Mapping[str, Any] = field(default_factory=dict)
    enforcer: str | None = None
    enforcers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    penalty: str | None = None
    size_weight: float | None = None
    stated_sizes: Mapping[str, float] = field(default_factory=dict)
    pseudo_weight: float | None = None
    pseudo_start: float = 0.1
    pseudo_ramp: float = 0.2
    pseudo_pieces: str = "any"
    set_size_count: int = 12
    zoom: bool = True
    epochs: int | None = None

    @property
    def weight_of_size(self) -> float:
        """Weight of the size term."""
        return WEIGHTS[self.enforced_by] if self.size_weight is None else self.size_weight

    @property
    def enforced_by(self) -> str:
        """Name of the enforcer."""
        return self.enforcer or self.penalty or "logbarrier"

    def make_penalty(self) -> nn.Module:
        """The enforcer itself, with its settings.

        Raises:
            ValueError: settings that it does not take.
        """
        name = self.enforced_by
        return enforcer(name, {name: {**SETTINGS.get(name, {}), **self.enforcers.get(name, {})}})

    @property
    def weight_of_pseudo(self) -> float:
        """Weight of the loss on pseudo-labels; 0: there are none."""
        return (0.5 if self.stated_sizes else 0.0) if self.pseudo_weight is None else self.pseudo_weight


def find_constraints(*folders: str | os.PathLike[str] | None) -> Path:
    """The file that the environment variable names, else the first `constraints.json` of these folders.

    Raises:
        FileNotFoundError: there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"{VARIABLE} names '{named}', which is no file")
        return Path(named)
    looked = [Path(folder) / NAME for folder in folders if folder is not None]
    for file in looked:
        if file.is_file():
            return file
    places = " or ".join(f"'{file}'" for file in looked)
    raise FileNotFoundError(
        f"nnUNetTrainerConstrained reads what is known of sizes from {places}, and there is no such file: write one, "
        f'such as {{"size_bounds": {{"LV": [20, 4000]}}}} (mm2 in a slice), or name it in the variable {VARIABLE}'
    )


def read_constraints(file: str | os.PathLike[str], class_names: Sequence[str]) -> Constraints:
    """Read and check a `constraints.json`.

    Args:
        file: the file.
        class_names: of the data set, background first.

    Raises:
        ValueError: it is no JSON, or a key, class or value cannot be; names the file and the key.
    """
    content = read_json(Path(file))
    if not isinstance(content, dict):
        raise ValueError(f"'{file}' must hold a JSON object, got {type(content).__name__}")
    known = [each.name for each in fields(Constraints)]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ValueError(
                f"'{file}': unknown key '{key}'; " + (f"did you mean '{near[0]}'?" if near else f"{known}")
            )
    try:
        found = Constraints(**content)
        _check(found, list(class_names))
    except ValueError as error:
        raise ValueError(f"'{file}': {error}") from error
    return found


def _check(given: Constraints, names: list[str]) -> None:
    for key in ("size_bounds", "volume_bounds", "stated_sizes"):
        values = getattr(given, key)
        if not isinstance(values, dict) or (unknown := [name for name in values if name not in names[1:]]):
            what = f"the classes {unknown}" if isinstance(values, dict) else repr(values)
            raise ValueError(f"{key} must name classes of the data set, {names[1:]}, got {what}")
    for key in ("size_bounds", "volume_bounds"):
        for name, value in getattr(given, key).items():
            check_interval(pairs_of(name, value), Size(), f"class '{name}' in {key}")
    for name, value in given.stated_sizes.items():
        _number(f"stated_sizes of '{name}'", value, above=0)
    _check_enforcer(given)
    if given.pseudo_pieces not in PIECES:
        raise ValueError(f"pseudo_pieces must be one of {list(PIECES)}, got {given.pseudo_pieces!r}")
    for key in ("size_weight", "pseudo_weight", "pseudo_start", "pseudo_ramp"):
        if (value := getattr(given, key)) is not None:
            _number(key, value, most=1 if key in ("pseudo_start", "pseudo_ramp") else None)
    for key in ("set_size_count", "epochs"):
        if (value := getattr(given, key)) is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{key} must be a whole number of 1 or more, got {value!r}")
    if not isinstance(given.zoom, bool):
        raise ValueError(f"zoom must be true or false, got {given.zoom!r}")
    if given.stated_sizes and given.weight_of_pseudo == 0:
        raise ValueError("stated_sizes act on pseudo-labels: leave pseudo_weight out, or give one above 0")
    if not (given.size_bounds or given.volume_bounds or given.weight_of_pseudo):
        raise ValueError(
            "it says nothing: give size_bounds (mm2), volume_bounds (ml), stated_sizes (ml) or pseudo_weight"
        )


def _check_enforcer(given: Constraints) -> None:
    for key in ("enforcer", "penalty"):
        if (value := getattr(given, key)) is not None and value not in WEIGHTS:
            raise ValueError(f"{key} must be one of {list(WEIGHTS)}, got {value!r}")
    if given.enforcer is not None and given.penalty is not None:
        raise ValueError("penalty is the former name of enforcer: leave it out")
    settings = given.enforcers
    if not isinstance(settings, dict) or not all(isinstance(of, dict) for of in settings.values()):
        raise ValueError(f'enforcers must be an object such as {{"primal_dual": {{"rate": 0.1}}}}, got {settings!r}')
    if unknown := [name for name in settings if name not in WEIGHTS]:
        raise ValueError(f"enforcers names {unknown}; there are {list(WEIGHTS)}")
    given.make_penalty()


def _number(what: str, value: Any, above: float | None = None, most: float | None = None) -> None:
    """Refuse what is no number of 0 or more, or not above or up to a limit."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < float("inf")
    if not fits or (above is not None and not value > above) or (most is not None and value > most):
        limits = " above 0" if above is not None else f" from 0 to {most}" if most is not None else " of 0 or more"
        raise ValueError(f"{what} must be a number{limits}, got {value!r}")
