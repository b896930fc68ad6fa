# SPDX-License-Identifier: Apache-2.0
"""One of several named alternatives of a configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

ALIASES = {"unconstrained": "partial", "constrained": "quadratic"}
"""The tutorials' words for the modes."""


def choose(name: str, value: str, choices: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> Any:
    """Return ``choices[value]``; ``name`` is the id of the setting, for the message.

    Args:
        refused: choices that other settings rule out, and the reason.

    Raises:
        ValueError: no such choice, with the choices and the nearest one; or one that is refused, with the reason.
    """
    key = resolve(name, value, choices)
    if reason := (refused or {}).get(key):
        raise ValueError(f"{name} cannot be '{key}': {reason}")
    return choices[key]


def choose_some(
    name: str, values: Sequence[str], choices: Sequence[str], mode: str = "", modes: Sequence[str] = ()
) -> list[str]:
    """Return the ``values`` of a setting that takes any of several words; ``name`` is its id, for the message.

    Args:
        mode: of the run.
        modes: in which they act; () = all.

    Raises:
        ValueError: no list, or no such choice, with the choices and the nearest one; a mode in which they do nothing.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name} must be a list of {list(choices)}, got {values!r}.")
    found = [resolve(name, value, choices) for value in values]
    if found and modes and mode not in modes and ALIASES.get(mode) not in modes:
        raise ValueError(
            f"{name} acts in the modes {list(modes)} and does nothing in '{mode}': choose one of them, or {name} []."
        )
    return found


def resolve(name: str, value: str, choices: Any) -> str:
    """The choice that ``value`` names, aliases of the modes included.

    Raises:
        ValueError: no such choice; names the choices and the nearest one.
    """
    value = str(value)
    key = value if value in choices else ALIASES.get(value, value)
    if key not in choices:
        nearest = difflib.get_close_matches(value, list(choices), n=1, cutoff=0.4)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise ValueError(f"{name} must be one of {list(choices)}, got '{value}'{hint}")
    return key
