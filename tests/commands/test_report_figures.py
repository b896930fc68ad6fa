# SPDX-License-Identifier: Apache-2.0
"""The command lines of report gif, curves, compare, table and penalties; their figures are tested in tests/report."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wss_monai.__main__ import main
from wss_monai.commands.report.curves import limits


@pytest.fixture
def run(tmp_path):
    """A run with one class, two cases, two epochs and their snapshots."""
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    (folder / "snapshots").mkdir()
    (folder / "run.json").write_text(
        json.dumps({"mode": "partial", "class_names": ["background", "LV"], "max_epochs": 2})
    )
    (folder / "metrics.csv").write_text("epoch,seconds,loss,loss_partial\n1,2,0.9,0.9\n2,4,0.5,0.5\n")
    (folder / "metrics_summary.json").write_text(json.dumps({"dice": {"mean": 0.7}}))
    (folder / "evaluation" / "cases.csv").write_text("case,class,dice\na,LV,0.6\nb,LV,0.8\n")
    (folder / "evaluation" / "cases.json").write_text(json.dumps([{"case": "a"}, {"case": "b"}]))
    for epoch in (1, 2):
        boxes = {title: [[0, 0, 30, 20]] for title in ("image", "prediction")}
        text = PngInfo()
        text.add_itxt("panels", json.dumps({"epoch": epoch, "cases": {"a": {"slices": [0], "panels": boxes}}}))
        shade = Image.new("RGB", (30, 20), (50 * epoch,) * 3)
        shade.save(folder / "snapshots" / f"epoch_{epoch:04d}.png", pnginfo=text)
    return folder


def test_gif(run, tmp_path, capsys):
    out, still = tmp_path / "film.gif", tmp_path / "still.png"
    words = ["--captions", "Mine", "--beside", "image", "--seconds", "0.1", "--scale", "3", "--still", str(still)]
    assert main(["report", "gif", "--runs", str(run), "--out", str(out), "--case", "a", *words]) == 0
    assert capsys.readouterr().out == f"written: {out} (a, 2 frames, epochs 1 to 2: Mine)\nwritten: {still}\n"
    with Image.open(out) as film:
        assert (film.n_frames, film.info["duration"]) == (2, 100)


def test_curves(run, tmp_path, capsys):
    out, table = tmp_path / "c.png", tmp_path / "c.csv"
    words = ["--columns", "loss_partial", "--smooth", "2", "--labels", "A b", "--title", "T", "--by", "class"]
    words += ["--ylim", "loss_partial=0:1", "--csv", str(table)]
    assert main(["report", "curves", "--runs", str(run), "--out", str(out), *words]) == 0
    assert capsys.readouterr().out == f"written: {out} (loss_partial)\nwritten: {table}\n"
    assert table.read_text() == "run,epoch,loss_partial\nA b,1,0.9\nA b,2,0.7\n"


def test_compare(run, tmp_path, capsys):
    out, table = tmp_path / "c.svg", tmp_path / "c.csv"
    assert main(["report", "compare", "--runs", str(run), "--out", str(out), "--csv", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["partial", "LV", "2", "0.700", "0.141", "0.610", "0.650", "0.700", "0.750", "0.790"]
    assert "epoch 2 of 2" in out.read_text()
    assert table.is_file()


def test_table(run, tmp_path, capsys):
    assert main(["report", "table", "--runs", str(run)]) == 0
    assert "| partial | none | 2 cases | 0.700 (0.141) |" in capsys.readouterr().out
    out = tmp_path / "made" / "t.csv"
    assert main(["report", "table", "--runs", str(run), "--format", "csv", "--out", str(out), "--labels", "A"]) == 0
    assert out.read_text().splitlines()[1].startswith("A,none,cases,dice,LV,2,0.7")


def test_penalties(tmp_path):
    out = tmp_path / "p.png"
    assert main(["report", "penalties", "--out", str(out), "--t", "1", "3", "--zlim", "-1", "2"]) == 0
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["gif", "--case", "z"], "case 'z' is not in the snapshots"),
        (["curves", "--columns", "dice"], "no run has the column 'dice'"),
        (["curves", "--ylim", "loss"], "ylim must be NAME=LOW:HIGH"),
        (["compare", "--metric", "hd95_mm"], "has no 'hd95_mm'; there are dice"),
        (["table", "--metrics", "hd95_mm"], "has no 'hd95_mm'; there are dice"),
    ],
)
def test_errors_are_one_line(run, words, match, capsys):
    assert main(["report", *words, "--runs", str(run)]) == 2
    assert match in capsys.readouterr().err


@pytest.mark.parametrize("text", ["loss", "loss=1", "loss=a:b", "loss=2:1", "loss=1:"])
def test_ends_of_an_axis_that_do_not_fit(text):
    with pytest.raises(ValueError, match="ylim must"):
        limits(text)
    assert limits("val_dice=-0.5:1") == ("val_dice", (-0.5, 1.0))
