# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

import pytest

from wss_monai.io.faults import Fault, FormatFault, MissingFile, halves_of
from wss_monai.io.volumes import UnreadableVolume


@pytest.mark.parametrize(("kind", "base"), [(FormatFault, ValueError), (MissingFile, FileNotFoundError)])
def test_a_fault_is_an_error_and_its_halves(kind, base):
    fault = kind("dataset.json: case 'a'", "'image' names 'a; b'", "mend it")
    assert isinstance(fault, base) and isinstance(fault, Fault)
    assert str(fault) == "dataset.json: case 'a': 'image' names 'a; b'; mend it"
    assert halves_of(fault) == ("'image' names 'a; b'", "mend it")
    again = pickle.loads(pickle.dumps(fault))
    assert type(again) is kind and str(again) == str(fault) and halves_of(again) == halves_of(fault)


def test_an_error_without_halves():
    assert halves_of(ValueError("wrong; mend it")) == ("wrong; mend it", "")
    assert str(FormatFault("wrong")) == "wrong"


def test_kinds():
    assert (FormatFault("a").kind, MissingFile("a").kind, UnreadableVolume("a").kind) == (
        "format",
        "missing",
        "unreadable",
    )
    assert FormatFault("a", "b", kind="affine").kind == "affine"
