# SPDX-License-Identifier: Apache-2.0
"""What label files mean: the classes of values and segments, and the kind of a weak label."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.kinds import Traits, WeakKind, traits_of
from wss_monai.io.faults import FormatFault
from wss_monai.io.labels import UNLABELLED_NAME
from wss_monai.io.names import odd_in

__all__ = [
    "BACKGROUND",
    "UNLABELLED_NAME",
    "Meant",
    "WeakMeaning",
    "class_names_of",
    "is_name",
    "label_map",
    "names_of",
    "read_meaning",
    "segment_map",
]

BACKGROUND = "background"
"""Name of class 0, always the meaning of the file value 0."""
Meant = str | tuple[str, ...]
"""What a file value stands for: a class or "unlabelled"; in a map of boxes also several classes, whose boxes overlap
there."""
LONGEST = 200
"""Characters of a value that a message repeats."""
_SETTINGS = re.compile(r"[#@]|::|^[$%]")
"""What MONAI takes for part of an id, a reference, an expression or a macro, in a text of a configuration."""
_KEYS = ("kind", "values", "segments", "undrawn_means_absent")


@dataclass(frozen=True)
class WeakMeaning:
    """What a weak label means.

    Attributes:
        kind: a word of `WeakKind` or another one; None where unknown.
        values: file value -> class name or "unlabelled"; of boxes also the names of several classes.
        segments: name of a segment in 3D Slicer -> class name or "unlabelled", beside the classes' own names.
        undrawn_means_absent: whether a class that was not drawn in a slice (2D) or volume (3D) is absent there.
    """

    kind: str | None
    values: dict[int, Meant]
    segments: dict[str, str]
    undrawn_means_absent: bool

    @property
    def traits(self) -> Traits:
        """What follows from the kind."""
        return traits_of(self.kind)

    def refuse_strangers(self, names: Sequence[str], where: str, section: str) -> None:
        """Refuse classes that are not among ``names``.

        Raises:
            FormatFault: names the part and the classes.
        """
        for part, table in (("values", self.values), ("segments", self.segments)):
            named = {name for meant in table.values() for name in names_of(meant)}
            strange = sorted(named - {*names, UNLABELLED_NAME})
            if strange:
                raise FormatFault(
                    where,
                    f"'{section}.{part}' names {strange}, which are no class of 'labels' {list(names)}",
                    f"use those names or '{UNLABELLED_NAME}'",
                )


def names_of(meant: Meant) -> tuple[str, ...]:
    """List what a file value stands for, mostly one name."""
    return (meant,) if isinstance(meant, str) else meant


def class_names_of(labels: Mapping[int, str]) -> list[str]:
    """Order the class names of a value map: background, then by file value, each name once."""
    return list(dict.fromkeys([BACKGROUND, *(labels[value] for value in sorted(labels))]))


def label_map(labels: Any, where: str) -> dict[int, str]:
    """Check `labels`, the value map of dense labels.

    Raises:
        FormatFault: it is none, or 0 is not the background.
    """
    values = _value_map(labels, "labels", where)
    if (count := len(set(values.values()))) > UNLABELLED:
        raise FormatFault(where, f"'labels' names {count} classes; there can be {UNLABELLED}", "merge some")
    if values.get(0) != BACKGROUND:
        found = f"'{values[0]}'" if 0 in values else "missing"
        raise FormatFault(
            where, f"'labels': value 0 must be '{BACKGROUND}', it is {found}", f'write "0": "{BACKGROUND}"'
        )
    if UNLABELLED_NAME in values.values():
        raise FormatFault(where, f"'labels': '{UNLABELLED_NAME}' is no class", "dense labels know every voxel")
    return values


def read_meaning(section: Any, where: str, name: str, base: WeakMeaning | None = None) -> WeakMeaning:
    """Check the section `weak_label` of a data set, or `weak_labels` of a case.

    Args:
        section: what the file says; None: nothing.
        where: the place in messages.
        name: the section's name in messages.
        base: what holds for keys that the section leaves out; None: `kind`, and `values` or `segments`, are required.

    Raises:
        FormatFault: it breaks a rule of the format.
    """
    empty = WeakMeaning(None, {}, {}, False)
    if section is None:
        return base or empty
    if base is None:
        known = isinstance(section, dict) and is_name(section.get("kind"))
        if not known or not ("values" in section or "segments" in section):
            raise FormatFault(
                where, f"'{name}' must be an object with 'kind' and 'values' (or 'segments'), got {section!r}"
            )
    elif not isinstance(section, dict) or not any(key in section for key in _KEYS):
        raise FormatFault(where, f"'{name}' must be an object with any of {list(_KEYS)}, got {section!r}")
    found = base or empty
    if "kind" in section:
        found = replace(found, kind=_check_kind(section["kind"], f"{name}.kind", where))
    if "values" in section:
        found = replace(found, values=_weak_values(section["values"], found.kind, f"{name}.values", where))
    if "segments" in section:
        found = replace(found, segments=segment_map(section["segments"], f"{name}.segments", where))
    absent = section.get("undrawn_means_absent", found.undrawn_means_absent)
    if not isinstance(absent, bool):
        raise FormatFault(where, f"'{name}.undrawn_means_absent' must be true or false, got {absent!r}")
    return replace(found, undrawn_means_absent=absent)


def _check_kind(kind: Any, name: str, where: str) -> str:
    """Check the word for a kind of weak label.

    Raises:
        FormatFault: it is no text, or near one of the words that decide how a case is read.
    """
    if not is_name(kind):
        raise FormatFault(where, f"'{name}' must be a text such as scribble, points, box or slices, got {kind!r}")
    if kind != (meant := WeakKind.meant_by(kind)):
        raise FormatFault(where, f"'{name}': write '{meant}' in place of '{kind}'")
    return str(kind)


def _weak_values(values: Any, kind: str | None, name: str, where: str) -> dict[int, Meant]:
    """Check a map of file values to names, in boxes also to lists of names.

    Raises:
        FormatFault: it is none.
    """
    if not isinstance(values, dict):
        return dict(_value_map(values, name, where))
    lists = {value: names for value, names in values.items() if isinstance(names, list)}
    for value, names in lists.items():
        if not traits_of(kind).boxes:
            raise FormatFault(
                where,
                f"'{name}': '{value}' stands for several classes {names}, which only boxes can (kind 'box', this is "
                f"'{kind}'): give each value one class",
            )
        wrong = [one for one in names if not is_name(one) or one in (BACKGROUND, UNLABELLED_NAME)]
        if wrong or not names or len(set(names)) < len(names):
            raise FormatFault(
                where,
                f"'{name}': '{value}' must list the classes whose boxes overlap there, each once and without "
                f"'{BACKGROUND}' and '{UNLABELLED_NAME}', got {names}",
            )
    firsts = {value: names[0] if value in lists else names for value, names in values.items()}
    checked = _value_map(firsts, name, where)
    return {**checked, **{int(value): tuple(names) for value, names in lists.items() if len(names) > 1}}


def _value_map(values: Any, name: str, where: str) -> dict[int, str]:
    """Check a map of file values to names.

    Raises:
        FormatFault: it is none.
    """
    if not isinstance(values, dict) or not values:
        raise FormatFault(where, f'\'{name}\' must be an object like {{"0": "background", "1": "LV"}}, got {values!r}')
    said: dict[int, str] = {}
    for value, meant in values.items():
        if not re.fullmatch(r"-?\d{1,18}", str(value)) or not is_name(meant):
            raise FormatFault(
                where,
                f'\'{name}\' must map file values to class names, as in "1": "LV"; got '
                f"{_short(value)}: {_short(meant)}",
            )
        if int(value) in said:
            raise FormatFault(
                where, f"'{name}' says twice what {int(value)} is, the second time as {value!r}", "keep one of the two"
            )
        said[int(value)] = _class_name(meant, name, where)
    return said


def _class_name(word: str, name: str, where: str) -> str:
    """Check a class name.

    Raises:
        FormatFault: it cannot stand in the settings of a run, in a table or in a message.
    """
    if odd := odd_in(word):
        raise FormatFault(where, f"'{name}' names a class {_short(word)}, which {odd}", "give it a plain name")
    if found := _SETTINGS.search(word):
        raise FormatFault(
            where,
            f"'{name}' names a class {word!r}: in the settings of a run, '{found.group()}' there begins a reference or "
            "an expression",
            "rename the class, with letters, digits, blanks, - and _",
        )
    return word


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def segment_map(segments: Any, name: str, where: str) -> dict[str, str]:
    """Check a map of segment names to class names.

    Raises:
        FormatFault: it is none.
    """
    if not isinstance(segments, Mapping) or not all(is_name(k) and is_name(v) for k, v in segments.items()):
        raise FormatFault(
            where, f'\'{name}\' must map names of segments to classes, as in "Left ventricle": "LV"; got {segments!r}'
        )
    return {str(segment).strip(): str(meant) for segment, meant in segments.items()}


def is_name(value: Any) -> bool:
    """Tell whether something is a text with more than blanks in it."""
    return isinstance(value, str) and bool(value.strip())
