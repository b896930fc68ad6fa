# SPDX-License-Identifier: Apache-2.0
"""Scores of runs on different cases, as those of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wss_monai.evaluation.pooled import pool_runs
from wss_monai.io.json_files import read_json
from wss_monai.io.run_folder import CASES, CONSTRAINTS, PREDICTIONS, RECORD, SCORED, SLICES, SUMMARY
from wss_monai.io.tables import write_json

NAMES = ["background", "organ"]


def make_run(folder: Path, scores: dict[str, float], recall: float, names: list[str] = NAMES) -> Path:
    (folder / PREDICTIONS).mkdir(parents=True)
    write_json(folder / RECORD, {"class_names": names, "fold": folder.name, "patients": {"test": sorted(scores)}})
    rows = [
        {"case": case, "patient": case, "class": "organ", "dice": dice, "iou": dice, "hd95_mm": 1.0, "asd_mm": 1.0,
         "volume_ml": 2.0, "reference_ml": 1.0, "volume_error_ml": 1.0, "empty": 0, "missed": 0,
         "drawn_voxels": 9, "stroke_recall": dice, "strokes_right": dice}
        for case, dice in scores.items()
    ]  # fmt: skip
    CASES.write(folder, rows)
    SLICES.write(folder, [])
    inside = [
        {"case": case, "patient": case, "term": "volume", "origin": "constant", "class": "organ", "slice": "",
         "component": 0, "unit": "ml", "measure": 1.0, "lower": 0.5, "upper": 2.0, "violation": 0.0, "state": "inside"}
        for case in scores
    ]  # fmt: skip
    CONSTRAINTS.write(folder, inside)
    write_json(folder / SCORED, [{"case": case, "patient": case} for case in scores])
    write_json(folder / SUMMARY, {"n_volumes": len(scores), "recall": {"mean": recall, "organ": recall}, "seed": 3})
    for case in scores:
        (folder / PREDICTIONS / f"{case}.nii.gz").write_text(case)
    return folder


def test_means_are_over_all_volumes(tmp_path):
    one = make_run(tmp_path / "fold1", {"a": 0.4, "b": 0.6, "c": 0.8}, recall=0.9)
    two = make_run(tmp_path / "fold2", {"d": 1.0}, recall=0.5)
    summary = pool_runs([one, two], tmp_path / "all", {"fold": "all"})
    assert summary == read_json(tmp_path / "all" / SUMMARY)
    assert summary["dice"]["organ"] == pytest.approx(0.7) and summary["n_volumes"] == 4
    assert summary["stroke_recall"]["organ"] == summary["strokes_right"]["mean"] == pytest.approx(0.7)
    assert summary["n_drawn"] == 4
    assert summary["recall"]["organ"] == pytest.approx((3 * 0.9 + 0.5) / 4)  # what it does not know weighs by volumes
    assert summary["constraint_satisfaction"]["volume"]["organ"] == 1.0
    assert summary["seed"] == 3
    assert [row["case"] for row in CASES.read(tmp_path / "all")] == ["a", "b", "c", "d"]
    record = read_json(tmp_path / "all" / RECORD)
    assert record["fold"] == "all" and record["patients"]["test"] == ["a", "b", "c", "d"]
    assert record["patients"]["training"] == []
    assert (tmp_path / "all" / PREDICTIONS / "d.nii.gz").read_text() == "d"


def test_a_case_twice_and_other_classes_are_refused(tmp_path):
    one = make_run(tmp_path / "fold1", {"a": 0.4}, 1.0)
    with pytest.raises(ValueError, match=r"cases \['a'\] are scored in more than one"):
        pool_runs([one, make_run(tmp_path / "fold2", {"a": 0.4}, 1.0)], tmp_path / "all", {})
    other = make_run(tmp_path / "fold3", {"b": 0.4}, 1.0, ["background", "organ", "other"])
    with pytest.raises(ValueError, match="different classes"):
        pool_runs([one, other], tmp_path / "all", {})
    assert not (tmp_path / "all").exists()
