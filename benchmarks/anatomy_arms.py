# SPDX-License-Identifier: Apache-2.0
"""What statements on anatomy add, for `benchmarks/run.py anatomy`, `anatomy_few` and `anatomy_volume`."""

from __future__ import annotations

from collections.abc import Mapping

CPU = ("cpu.yaml",)
Arms = dict[str, tuple[tuple[str, ...], dict[str, object]]]

ANATOMY = ("ratio", "distance", "contact", "enclosure", "pieces", "border")
"""What anatomy.yaml can say."""
CHOSEN = ("distance", "pieces")
"""The best of what was tried on fold 2, from points."""

OF_VOLUMES = ("ratio", "distance", "contact", "pieces", "border")
"""What is said of a hippocampus."""


def anatomy(modes: Mapping[str, Mapping[str, object]], **common: object) -> Arms:
    """Arms named after modes: alone, with each statement, ``<mode>_<statement>``, with all, and with the chosen."""
    said = {"": [], **{f"_{word}": [word] for word in ANATOMY}, "_all": [*ANATOMY]}
    said["_" + "_".join(CHOSEN)] = [*CHOSEN]
    return {
        f"{mode}{name}": (
            (*CPU, "anatomy.yaml") if words else CPU,
            {**settings, **common, **({"anatomy": str(words)} if words else {})},
        )
        for mode, settings in modes.items()
        for name, words in said.items()
    }


SIZE_WEIGHT = {"enforcer_weight": 0.1}
"""Of the augmented Lagrangian in 3D: the bundle's at the time, before fold 2 chose 0.3."""


def anatomy_of_volumes(mode: str) -> Arms:
    """Arms in 3D: the mode alone, and with the overlay as it ships, ``<mode>_anatomy``."""
    settings = {"mode": mode, **SIZE_WEIGHT}
    return {mode: (CPU, settings), f"{mode}_anatomy": ((*CPU, "anatomy.yaml"), settings)}


def tried_anatomy_of_volumes(mode: str) -> Arms:
    """With each statement alone, ``<mode>_<statement>``."""
    settings = {"mode": mode, **SIZE_WEIGHT}
    return {f"{mode}_{word}": ((*CPU, "anatomy.yaml"), {**settings, "anatomy": str([word])}) for word in OF_VOLUMES}


def tried_anatomy(mode: str, **common: object) -> Arms:
    """Arms ``<mode>_<statement>_x<factor>``, so many times the weight, ``..._relu``, and ``<mode>_<a>_<b>``."""
    arms: Arms = {}
    settings = {"mode": mode, **common}
    for word in ("distance", "contact", "enclosure", "pieces", "border"):
        for factor in (0.1, 10):
            weight = {"anatomy_weight#quadratic": round(0.3 * factor, 3)}
            arms[f"{mode}_{word}_x{factor:g}"] = (
                (*CPU, "anatomy.yaml"),
                {**settings, "anatomy": str([word]), **weight},
            )
        relu = {"anatomy_enforcer": "relu", "anatomy_weight#relu": 0.1}
        arms[f"{mode}_{word}_relu"] = ((*CPU, "anatomy.yaml"), {**settings, "anatomy": str([word]), **relu})
    for words in (["distance", "pieces", "border"], ["distance", "contact", "pieces"]):
        arms[f"{mode}_{'_'.join(words)}"] = ((*CPU, "anatomy.yaml"), {**settings, "anatomy": str(words)})
    return arms
