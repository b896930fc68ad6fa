# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from wss_monai.evaluation.summary_text import summary_text


def test_scores_have_words_and_units_and_fit_a_terminal():
    names = ["background", *(f"a class with a long name {i}" for i in range(9))]
    of_all = {"mean": 0.5, **dict.fromkeys(names[1:], 0.25)}
    summary = {"n_volumes": 3, "n_drawn": 2, "hd95_mm": of_all, "dice": of_all, "strokes_right": {"mean": 0.125}}
    summary["constraint_satisfaction"] = {"size": {"mean": 1.0}}
    lines = summary_text(summary, names).splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert text.count("HD95 (mm)") == text.count("Dice") == 2  # nine classes do not fit beside each other
    assert text.count("0.250") == 18
    assert any(line.startswith("strokes right") and line.split()[-1] == "0.125" for line in lines)
    assert "2 of 3 cases have drawn voxels" in text
    assert "no measure of a good mask" in text
    assert "Dice, distances and volume errors are left out" not in text


def test_without_dense_masks_it_says_so():
    assert summary_text({"n_volumes": 1, "constraint_satisfaction": {}}, ["background", "RV"]) == (
        "No case has a dense mask: Dice, distances and volume errors are left out."
    )
