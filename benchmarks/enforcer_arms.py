# SPDX-License-Identifier: Apache-2.0
"""One constraint under every enforcer, for `benchmarks/run.py enforcers` and its like.

An arm is named ``<enforcer>_<bounds>``, and ``<enforcer>_<bounds>_x<factor>`` with so many times the enforcer's weight.
"""

from __future__ import annotations

from collections.abc import Mapping

CPU = ("cpu.yaml",)
Weights = Mapping[str, float]
Arms = dict[str, tuple[tuple[str, ...], dict[str, object]]]

WEIGHTS: Weights = {
    "quadratic": 0.3,
    "relu": 0.03,
    "logbarrier": 0.003,
    "augmented_lagrangian": 0.03,
    "primal_dual": 0.03,
}
"""Enforcer -> its weight before any was tried."""
WEIGHTS_3D: Weights = {
    "quadratic": 1.0,
    "relu": 0.1,
    "logbarrier": 0.03,
    "augmented_lagrangian": 0.1,
    "primal_dual": 0.1,
}
"""The same for volumes of the hippocampus: the bundle's for quadratic and logbarrier, the others as on slices."""
SET_WEIGHTS: Weights = {"augmented_lagrangian_set": 0.3, "primal_dual_set": 1.0}
"""With one multiplier a class and side for the whole set, moved by every batch; the same on all data."""
SET_RATES = {"augmented_lagrangian": 0.003, "primal_dual": 0.001}
"""Rates of those multipliers: weight x rate is the same for both, and 0.05 or so is reached in a quarter of a run."""
FACTORS = (0.1, 0.3, 3.0, 10.0)
"""Times the weight: two decades."""


def settings_of(name: str) -> dict[str, object]:
    """Settings of an enforcer, or of one whose multipliers are those of the set."""
    enforcer = name.removesuffix("_set")
    out: dict[str, object] = {"mode": "constrained", "enforcer": enforcer}
    if enforcer != name:
        out |= {f"enforcers#{enforcer}#per": "set", f"enforcers#{enforcer}#rate": SET_RATES[enforcer]}
    return out


def enforced(
    bounds: Mapping[str, Mapping[str, object]], factors: tuple[float, ...] = (1.0,), weights: Weights = WEIGHTS
) -> Arms:
    """The arms of some origins of bounds and factors of the weight."""
    out: Arms = {}
    for name, weight in weights.items():
        for origin, where in bounds.items():
            for factor in factors:
                arm = f"{name}_{origin}" + ("" if factor == 1 else f"_x{factor:g}")
                out[arm] = (CPU, {**settings_of(name), **where, "enforcer_weight": round(factor * weight, 6)})
    return out


def tried(bounds: Mapping[str, Mapping[str, object]], weights: Weights = WEIGHTS) -> Arms:
    """The other weights of each enforcer, and multipliers of the set with all of them."""
    return {**enforced(bounds, FACTORS, weights), **enforced(bounds, (1.0, *FACTORS), SET_WEIGHTS)}
