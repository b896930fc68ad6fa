# SPDX-License-Identifier: Apache-2.0
"""The kinds of weak labels, and what follows from each. Whoever handles a weak label asks here, not for its word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Traits", "WeakKind", "traits_of"]


@dataclass(frozen=True)
class Traits:
    """What follows from the kind of a weak label.

    Attributes:
        needs: keys of a case in `dataset.json` of which a case of this kind must have one, if it has no file under
            `weak_label` where that is allowed; empty: none is needed.
        drawn: the case may have a file under `weak_label`, and without one its dense label takes that place. False: it
            has none, and a dense label is for evaluation alone.
        partial: each voxel of the file is what it says. False: the inside of a shape is not all organ.
        boxes: the file shows filled boxes, which may overlap; where undrawn means absent, background is around them.
        complete: the file may well have a meaning for every voxel.
        features: what its cues tell of an organ's size: "scribble" (length, box and hull), "box" or "position".
        spelt: other words that people write for it; `dataset.json` refuses them, since a word that is not known is a
            drawing like any other.
    """

    needs: tuple[str, ...] = ("weak_label",)
    drawn: bool = True
    partial: bool = True
    boxes: bool = False
    complete: bool = False
    features: str = "position"
    spelt: tuple[str, ...] = ()


class WeakKind(StrEnum):
    """The word for a kind in `dataset.json`, with its traits; any other word is a drawing."""

    DRAWING = "drawing", Traits()
    SCRIBBLE = "scribble", Traits(features="scribble")
    POINTS = "points", Traits()
    SLICES = "slices", Traits()
    BOX = (
        "box",
        Traits(
            partial=False, boxes=True, complete=True, features="box", spelt=("boxes", "bounding_box", "bounding box")
        ),
    )
    DENSE = "dense", Traits(needs=("label",), complete=True, spelt=("full",))
    TAGS = "tags", Traits(needs=("tags", "slice_tags"), drawn=False, spelt=("tag",))
    NOTHING = "nothing", Traits(needs=(), drawn=False, spelt=("none",))

    traits: Traits

    def __new__(cls, word: str, traits: Traits) -> WeakKind:
        """Make a member that equals its word."""
        member = str.__new__(cls, word)
        member._value_, member.traits = word, traits
        return member

    @classmethod
    def of(cls, word: str | None) -> WeakKind:
        """Give the kind that a word stands for; one that begins with "scribble" is a scribble, None a drawing."""
        known = {kind.value: kind for kind in cls}
        return known.get(word or "", cls.SCRIBBLE if (word or "").startswith(cls.SCRIBBLE) else cls.DRAWING)

    @classmethod
    def meant_by(cls, word: str) -> str:
        """Give the right spelling of a word that is near that of a kind, else the word itself."""
        near = {spelt: kind.value for kind in cls for spelt in (kind.value, *kind.traits.spelt)}
        return near.get(word.lower(), word)


def traits_of(word: str | None) -> Traits:
    """Give what follows from a word for a kind of weak label, None where nothing says it."""
    return WeakKind.of(word).traits
