# SPDX-License-Identifier: Apache-2.0
"""The leak guard: no patient on two sides of a split, however the patient's name is written."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["check_no_leak", "patient_key", "warn_of_shared_patients"]

logger = logging.getLogger(__name__)

_PERSON = {"patient", "pat", "pt", "subject", "subj", "sub", "case", "id"}
_MOMENT = {"frame", "phase", "time", "ed", "es", "slice", "ses", "session", "visit", "timepoint", "tp", "run"}
_PRODUCT = {"gt", "seg", "mask", "label", "scribble", "image", "img"}
_EXTENSION = re.compile(r"\.(nii(\.gz)?|nrrd|mha|mhd)$", re.IGNORECASE)


def patient_key(name: str) -> tuple[str, ...]:
    """Reduce a patient's name to what tells people apart.

    The rule: file extensions and the case of letters are dropped; the name is cut into words and numbers wherever
    letters, digits and separators meet, and numbers lose their leading zeros. From the end go words that name a
    moment or a product of one person's scan, with their number (frame01, ED, ses-2, gt ...), as long as a number,
    or another word than "patient", remains. Then every word that only says "person" (patient, pat, sub, subject,
    case, id ...) goes where a number follows it. All else counts: `patient1` is not `patient11`, `siteA_001` is not
    `siteB_001`, `P1` is not `S1`; but `patient001_frame12`, `Patient_1`, `sub-001` and `1` are one person.

    Args:
        name: a patient's name, or a case id or file name that starts with it.

    Returns:
        Words and numbers; equal for two spellings of one patient.
    """
    text = _EXTENSION.sub("", unicodedata.normalize("NFKC", name).casefold().strip())
    tokens = re.findall(r"\d+|[^\W\d_]+", text) or [text]
    tokens = [str(int(token)) if token.isdecimal() else token for token in tokens]
    while (shorter := _without_suffix(tokens)) is not None:
        tokens = shorter
    return tuple(
        token for token, after in zip(tokens, [*tokens[1:], ""], strict=True) if not _says_person(token, after)
    )


def check_no_leak(**parts: Iterable[Mapping[str, Any] | str]) -> None:
    """Refuse a split with one patient, or one image file, on two sides.

    Args:
        parts: name of the part -> its cases (dictionaries with `patient` and, where known, `image`) or patients' names.

    Raises:
        ValueError: two parts share a patient (by `patient_key`) or an image path; names both spellings.
    """
    people: dict[tuple[str, ...], tuple[str, str]] = {}
    images: dict[str, tuple[str, str]] = {}
    for part, cases in parts.items():
        for case in cases:
            name = case if isinstance(case, str) else str(case["patient"])
            other, spelling = people.setdefault(patient_key(name), (part, name))
            if other != part:
                raise ValueError(
                    f"leak: one patient on two sides of the split, '{spelling}' in {other} and '{name}' in {part}; "
                    "keep a patient's cases on one side, and write the name one way in dataset.json and split file"
                )
            for image in [] if isinstance(case, str) else _images(case):
                other, owner = images.setdefault(image, (part, name))
                if other != part:
                    raise ValueError(
                        f"leak: the image '{image}' belongs to patient '{owner}' in {other} and to patient '{name}' "
                        f"in {part}; give both cases the same 'patient' in dataset.json"
                    )


def warn_of_shared_patients(**parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say who is on two sides of a split by scan, which trains on one scan of a person and scores or hides another.

    Args:
        parts: name of the part -> its cases.

    Returns:
        The patients with cases in more than one part, sorted; a warning names them.
    """
    sides: dict[tuple[str, ...], set[str]] = {}
    names: dict[tuple[str, ...], str] = {}
    for part, cases in parts.items():
        for case in cases:
            key = patient_key(str(case["patient"]))
            sides.setdefault(key, set()).add(part)
            names.setdefault(key, str(case["patient"]))
    shared = sorted(names[key] for key, found in sides.items() if len(found) > 1)
    if shared:
        logger.warning(
            "this split is by scan, not by patient: of %d patients one scan is on one side and another on the other "
            "(%s): %s. Its scores are not comparable with those of a split by patient.",
            *(len(shared), ", ".join(parts), ", ".join(shared)),
        )
    return shared


def _says_person(token: str, after: str) -> bool:
    """Whether the token only says that a person's number, or another such word, follows."""
    return token in _PERSON and (after.isdecimal() or after in _PERSON)


def _without_suffix(tokens: list[str]) -> list[str] | None:
    """Give the tokens without a trailing moment or product and its number, None where there is nothing to drop."""
    cut = len(tokens) - 1
    if cut > 0 and tokens[cut].isdecimal() and tokens[cut - 1] in _MOMENT:
        cut -= 1
    if cut < 1 or tokens[cut] not in _MOMENT | _PRODUCT:
        return None
    rest = tokens[:cut]
    return rest if any(token not in _PERSON for token in rest) else None


def _images(case: Mapping[str, Any]) -> list[str]:
    image = case.get("image")
    return [image] if isinstance(image, str) else list(image or [])
