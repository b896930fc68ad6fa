# SPDX-License-Identifier: Apache-2.0
"""Lists of cases that a program puts in the place of a bundle's data sets, as MONAI Label does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["settle_data"]

SETTING = "datalist"
TRAINING, VALIDATION = "train#dataset#data", "validate#dataset#data"


def settle_data(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Read lists that stand in the place of what the datasets of training and validation get as the setting `datalist`.

    A bundle knows patients, classes and the meaning of labels by `data`, which would otherwise ask for a
    `dataset.json` although the cases are given. What `datalist` itself says (of `labels`, say) stays.

    Args:
        config: the configuration in use, before anything of it is computed.
        known: the defaults of the bundle's files, with nested ids as dictionaries.

    Returns:
        Id -> value to replace; empty where nothing was given, or by a bundle without this setting.
    """
    cases = _at(config, TRAINING)
    if SETTING not in config or not isinstance(cases, (list, tuple)):
        return {}
    said = config[SETTING] if isinstance(config[SETTING], Mapping) else {}
    given: dict[str, Any] = {**said, "training": list(cases)}
    changed = {TRAINING: _at(known, TRAINING)}
    validating = _at(config, VALIDATION)
    if isinstance(validating, (list, tuple)):
        given["validation"] = list(validating)
        changed[VALIDATION] = _at(known, VALIDATION)
    return {SETTING: given, **changed}


def _at(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split("#"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
