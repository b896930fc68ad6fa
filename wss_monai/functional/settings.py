# SPDX-License-Identifier: Apache-2.0
"""What modules share about their settings: checks that name the argument, values along axes, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = [
    "ShownSettings",
    "as_list",
    "check_flags",
    "check_positive",
    "class_index",
    "is_number",
    "is_whole",
    "per_axis",
]


class ShownSettings:
    """A module that shows some of its attributes; a run is not resumed with others. Stands before ``nn.Module``.

    Attributes:
        shown: names of the attributes.
    """

    shown: ClassVar[tuple[str, ...]] = ()

    def extra_repr(self) -> str:
        """Show the settings, by which a resumed run is compared."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


def check_flags(**flags: Any) -> None:
    """Refuse what is no truth value, such as the text "false".

    Raises:
        ValueError: names the argument.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r} (on the command line True or False).")


def check_positive(**numbers: Any) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        ValueError: names the argument.
    """
    for name, value in numbers.items():
        if not is_number(value) or not value > 0:
            raise ValueError(f"{name} must be a positive number, got {value!r}.")


def per_axis(name: str, value: Any, count: int, of: str = "axes") -> list[Any]:
    """Give one value an axis (or a channel, see ``of``) from one number or ``count`` of them.

    Raises:
        ValueError: another number of values.
    """
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} {value!r} must be one number, or one for each of {count} {of}.")
    return values


def as_list(value: Any) -> list[Any]:
    """Give one number, or several, as a list."""
    return list(value) if isinstance(value, Sequence) else [value]


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def class_index(item: int | str, names: Sequence[str] | None) -> int:
    """Index of a class that is given by its index, or by its name among ``names``.

    Raises:
        ValueError: no such class, or a name without ``names``.
    """
    if isinstance(item, int):
        if item < 0 or (names is not None and item >= len(names)):
            raise ValueError(f"class {item} is not an index of the classes{f' {list(names)}' if names else ''}.")
        return item
    if names is None:
        raise ValueError(f"class {item!r} is a name: give class_names too.")
    if item not in names:
        raise ValueError(f"class {item!r} is not one of {list(names)}.")
    return list(names).index(item)
