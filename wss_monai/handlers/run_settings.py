# SPDX-License-Identifier: Apache-2.0
"""In what a run that is resumed differs from the one that it continues."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

__all__ = ["CONFIGURATION", "differences"]

CONFIGURATION = "configuration"
"""The setting that holds id -> value of the whole configuration."""
SINCE = (CONFIGURATION, "sha256_of_dataset_json")
"""What checkpoints of releases before lack."""
SHOWN = 5


class _Nothing:
    def __repr__(self) -> str:
        return "not set"


NOTHING = _Nothing()


def differences(theirs: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say which settings differ, each with both values.

    Args:
        theirs: settings of the run in the checkpoint.
        here: those of this one. What is in `SINCE` is compared where both have it.
    """
    plain = [name for name in dict.fromkeys([*here, *theirs]) if name not in SINCE or name in {*theirs} & {*here}]
    plain = [name for name in plain if name != CONFIGURATION]
    found = {name: (theirs.get(name), here.get(name)) for name in plain if theirs.get(name) != here.get(name)}
    whole = theirs.get(CONFIGURATION), here.get(CONFIGURATION)
    if whole[0] and whole[1]:
        for name in dict.fromkeys([*whole[1], *whole[0]]):
            values = whole[0].get(name, NOTHING), whole[1].get(name, NOTHING)
            if values[0] != values[1] and name.partition("#")[0] not in found:
                found[name] = values
    texts = ["{} is {} there and {} here".format(name, *_short(*values)) for name, values in found.items()]
    return texts[:SHOWN] + ([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])


def _short(*values: Any) -> list[str]:
    """The values as text; of long ones the part from shortly before their first difference."""
    texts = [repr(value) for value in values]
    if max(map(len, texts)) <= 100:
        return texts
    same = sum(1 for _ in itertools.takewhile(lambda pair: len(set(pair)) == 1, zip(*texts, strict=False)))
    start = max(0, same - 40)
    return [f"{'...' * (start > 0)}{text[start : start + 94]}{'...' * (len(text) > start + 94)}" for text in texts]
