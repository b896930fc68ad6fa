# SPDX-License-Identifier: Apache-2.0
"""YAML that unfolds to far more than it is."""

from __future__ import annotations

import pytest

from wss_monai.io.yaml_files import check_yaml, check_yaml_file

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [" + ",".join([f"*{old}"] * 9) + "]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


def test_aliases_that_multiply_are_refused_at_once(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(BOMB)
    with pytest.raises(ValueError, match=r"mine\.yaml is refused: its aliases stand for more than 1000000 values"):
        check_yaml_file(path)


def test_deep_and_broken_texts_are_refused():
    with pytest.raises(ValueError, match="x is refused: it is nested more than 200 levels deep"):
        check_yaml("[" * 5000, "x")
    with pytest.raises(ValueError, match=r"x is no YAML: .* cannot start any token"):
        check_yaml("a:\n\t- b\n", "x")


@pytest.mark.parametrize("text", ["", "a: &a [1, 2]\nb: [*a, *a]\n", "seed: $1 + 1\n", "x: !!binary aa"])
def test_sound_texts_pass(text):
    check_yaml(text, "x")
