# SPDX-License-Identifier: Apache-2.0
"""What a command writes takes the place of nothing that is not its own."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.commands.kinds import check_out, told_failures
from wss_monai.io.whole_folder import LOCK


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"))


def test_a_check_replaces_its_own_file_alone(data, tmp_path, capsys):
    out = tmp_path / "check.json"
    for _ in range(2):
        assert main(["check", str(data), "--quick", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["cases"] == 4
    before = (data / "dataset.json").read_bytes()
    assert main(["check", str(data), "--quick", "--json", str(data / "dataset.json")]) == 2
    assert "dataset.json' is there already and was not written by this command" in capsys.readouterr().err
    assert (data / "dataset.json").read_bytes() == before


def test_bounds_replace_their_own_file_alone(data, tmp_path, capsys):
    words = ["bounds", "--fit", str(data), "--dense", "3", "--validation", "0", "--out"]
    for _ in range(2):
        assert main([*words, str(tmp_path / "bounds.json")]) == 0
    before = (data / "dataset.json").read_bytes()
    assert main([*words, str(data / "dataset.json")]) == 2
    assert "--out: '" in capsys.readouterr().err and (data / "dataset.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure_replaces_a_figure_alone(tmp_path, capsys, kind):
    out = tmp_path / f"penalties.{kind}"
    for _ in range(2):
        assert main(["report", "penalties", "--out", str(out)]) == 0
    out.write_bytes(b"\x89PNG of a patient" if kind == "png" else b"mine")
    before = out.read_bytes()
    assert main(["report", "penalties", "--out", str(out)]) == 2
    assert "choose another file, or remove it first" in capsys.readouterr().err and out.read_bytes() == before


def test_pages_and_tables(tmp_path):
    page, table = tmp_path / "x.html", tmp_path / "x.csv"
    check_out(("--out", page), ("--csv", None))
    page.write_text("<!DOCTYPE html>\n<p>mine")
    with pytest.raises(ValueError, match="--out"):
        check_out(("--out", page))
    table.write_text("run,class,n\nfull,LV,3\n")
    check_out(("--csv", table))
    table.write_text("case,patient,dice\n")  # evaluation/cases.csv of a run
    with pytest.raises(ValueError, match="--csv"):
        check_out(("--csv", table))


def test_a_generated_data_set_appears_whole(tmp_path, capsys, monkeypatch):
    out, words = tmp_path / "made", ["synthesize", "toy", "--images", "2", "1", "--size", "64", "64", "--radius", "12"]
    assert main([*words, "--out", str(out)]) == 0
    assert f"{out / 'dataset.json'}: 2 training and 1 validation pictures" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["made"] and not (out / LOCK).exists()
    whole = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "mine.txt").write_text("mine")
    assert main([*words, "--out", str(out)]) == 2
    assert main([*words, "--out", str(out), "--overwrite"]) == 0
    again = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path: again[path] for path in whole} == whole and (out / "mine.txt").read_text() == "mine"
    assert len(again) == len(whole) + 1

    def fail(*_):
        raise OSError(28, "No space left on device")

    shutil.rmtree(out)
    monkeypatch.setattr("wss_monai.data.phantoms.toy_files.write_dataset", fail)
    assert main([*words, "--out", str(out)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_scores_do_not_go_into_the_folder_of_a_run(data, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    words = ["score", "--predictions", str(data / "labels"), "--data", str(data)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "folder of a run" in capsys.readouterr().err
    assert main([*words, "--out", str(data)]) == 2
    assert "folder of a data set" in capsys.readouterr().err


def test_a_prediction_that_cannot_be_scored_does_not_stop_the_others(data, tmp_path, capsys):
    predictions = shutil.copytree(data / "labels", tmp_path / "predictions")
    words = ["score", "--predictions", str(predictions), "--data", str(data), "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    (predictions / "p2_ED.nii.gz").write_bytes((predictions / "p2_ED.nii.gz").read_bytes()[:100])
    capsys.readouterr()
    assert main([*words, str(tmp_path / "part")]) == 1
    said = capsys.readouterr().err
    assert "failed: p2_ED: " in said and "1 case failed: no scores of it in" in said
    rows = [(tmp_path / name / "evaluation" / "cases.csv").read_text().splitlines() for name in ("whole", "part")]
    assert rows[1] == [row for row in rows[0] if not row.startswith("p2_ED,")]
    assert list(json.loads((tmp_path / "part" / "metrics_summary.json").read_text())["failed"]) == ["p2_ED"]


def test_ctrl_c_ends_a_command_in_a_line(data, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("wss_monai.data.checks.dataset.check_dataset", stop)
    assert main(["check", str(data)]) == 130
    assert capsys.readouterr().err == "wss_monai check: interrupted\n"


def test_failures_are_a_line_each(capsys):
    assert told_failures({}, "left out") == 0
    assert told_failures({"a": "one\n two", "b": "x"}, "left out") == 1
    assert capsys.readouterr().err == "failed: a: one two\nfailed: b: x\n2 cases failed: left out\n"
