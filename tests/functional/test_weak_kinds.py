# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle

import pytest

from wss_monai.functional.weak.kinds import WeakKind, traits_of


@pytest.mark.parametrize(
    ("word", "features"),
    [
        ("scribble", "scribble"),
        ("scribble_border", "scribble"),
        ("box", "box"),
        ("points", "position"),
        ("cam", "position"),
        (None, "position"),
    ],
)
def test_which_cues_a_kind_of_weak_label_has(word, features):
    assert traits_of(word).features == features


def test_a_kind_is_its_word():
    assert WeakKind.BOX == "box" and f"{WeakKind.BOX.value}" == "box"
    assert json.loads(json.dumps({"kind": WeakKind.TAGS})) == {"kind": "tags"}
    assert pickle.loads(pickle.dumps(WeakKind.BOX)) is WeakKind.BOX


def test_words_that_are_no_kind_are_drawings():
    for word in ("cam", "random_blob", "", None, "Box"):
        assert WeakKind.of(word) is WeakKind.DRAWING


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("boxes", "box"),
        ("Full", "dense"),
        ("None", "nothing"),
        ("Scribble", "scribble"),
        ("cam", "cam"),
        ("CAM", "CAM"),
    ],
)
def test_words_that_are_near_a_kind_are_told(word, meant):
    assert WeakKind.meant_by(word) == meant


def test_no_spelling_stands_for_two_kinds():
    words = [word for kind in WeakKind for word in (kind.value, *kind.traits.spelt)]
    assert len(set(words)) == len(words)
