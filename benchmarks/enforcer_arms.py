# SPDX-License-Identifier: Apache-2.0
"""One constraint under every enforcer, for `benchmarks/run.py enforcers` and its like.

An arm is named ``<enforcer>_<bounds>``, with the weight that was chosen on fold 2, and
``<enforcer>_<bounds>_w<weight>`` with one that was tried there.
"""

from __future__ import annotations

from collections.abc import Mapping

CPU = ("cpu.yaml",)
Weights = Mapping[str, float]
Arms = dict[str, tuple[tuple[str, ...], dict[str, object]]]

WEIGHTS: Weights = {
    "quadratic": 0.09,
    "relu": 0.09,
    "logbarrier": 0.003,
    "augmented_lagrangian": 0.003,
    "primal_dual": 0.3,
}
"""Enforcer -> its weight, chosen on fold 2 with one seed, on scribbles with estimated bounds."""
POINT_WEIGHTS: Weights = {
    "quadratic": 0.3,
    "relu": 3.0,
    "logbarrier": 0.009,
    "augmented_lagrangian": 0.3,
    "primal_dual": 3.0,
}
"""The same on points, where it is another one."""
MIDDLE: Weights = {
    "quadratic": 0.3,
    "relu": 0.03,
    "logbarrier": 0.003,
    "augmented_lagrangian": 0.03,
    "primal_dual": 0.03,
}
"""The middle of the two decades that were tried: where the bundle's weights are, or near them."""
MIDDLE_3D: Weights = {
    "quadratic": 1.0,
    "relu": 0.1,
    "logbarrier": 0.03,
    "augmented_lagrangian": 0.1,
    "primal_dual": 0.1,
}
"""The same for volumes of the hippocampus: the bundle's for quadratic and logbarrier, the others as on slices."""
WEIGHTS_3D: Weights = {
    "quadratic": 1.0,
    "relu": 0.1,
    "logbarrier": 0.3,
    "augmented_lagrangian": 0.3,
    "primal_dual": 3.0,
}
"""Chosen there on fold 2 with one seed, after fold 1 had been seen with those above; ReLU was not tried."""
MIDDLE_OF_SET: Weights = {"augmented_lagrangian_set": 0.3, "primal_dual_set": 1.0}
"""With one multiplier a class and side for the whole set, moved by every batch; the same on all data."""
SET_RATES = {"augmented_lagrangian": 0.003, "primal_dual": 0.001}
"""Rates of those multipliers: weight x rate is the same for both, and 0.05 or so is reached in a quarter of a run."""
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Times the middle: two decades."""
FURTHER = {
    "relu": (30.0, 100.0),
    "logbarrier": (30.0,),
    "augmented_lagrangian": (30.0,),
    "primal_dual": (30.0, 100.0, 300.0),
}
"""Tried besides, since the best of the two decades was their end: from scribbles, from points or in 3D."""


def settings_of(name: str) -> dict[str, object]:
    """Settings of an enforcer, or of one whose multipliers are those of the set."""
    enforcer = name.removesuffix("_set")
    out: dict[str, object] = {"mode": "constrained", "enforcer": enforcer}
    if enforcer != name:
        out |= {f"enforcers#{enforcer}#per": "set", f"enforcers#{enforcer}#rate": SET_RATES[enforcer]}
    return out


def enforced(bounds: Mapping[str, Mapping[str, object]], weights: Weights = WEIGHTS) -> Arms:
    """The arms of some origins of bounds, ``<enforcer>_<bounds>``."""
    return {
        f"{name}_{origin}": (CPU, {**settings_of(name), **where, "enforcer_weight": weight})
        for name, weight in weights.items()
        for origin, where in bounds.items()
    }


def weighed(bounds: Mapping[str, Mapping[str, object]], weights: Weights) -> Arms:
    """The same with other weights, ``<enforcer>_<bounds>_w<weight>``."""
    return {
        f"{arm}_w{weight:g}": run
        for name, weight in weights.items()
        for arm, run in enforced(bounds, {name: weight}).items()
    }


def tried(bounds: Mapping[str, Mapping[str, object]], middle: Weights = MIDDLE) -> Arms:
    """The weights of each enforcer that were tried, those with multipliers of the whole set besides."""
    out: Arms = {}
    for name, weight in {**middle, **MIDDLE_OF_SET}.items():
        for each in (round(factor * weight, 6) for factor in (*FACTORS, *FURTHER.get(name, ()))):
            out |= weighed(bounds, {name: each})
    return out
