# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json

import pytest

from wss_monai.commands import report


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    report.add_parser(parser.add_subparsers(required=True))
    return parser


@pytest.fixture
def trained(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"mode": "partial", "class_names": ["background", "LV"], "max_epochs": 2}))
    (run / "metrics.csv").write_text("epoch,seconds,loss\n1,2,0.9\n2,4,0.5\n")
    return run


def test_html_is_written_where_asked(parser, trained, tmp_path, capsys):
    out = tmp_path / "made" / "page.html"
    args = parser.parse_args(["report", "html", "--runs", str(trained), "--out", str(out), "--title", "My runs"])
    assert args.run(args) == 0
    assert "<h1>My runs</h1>" in out.read_text(encoding="utf-8")
    assert str(out) in capsys.readouterr().out


def test_a_missing_run_is_named(parser, tmp_path):
    args = parser.parse_args(["report", "html", "--runs", str(tmp_path / "nowhere")])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        args.run(args)


@pytest.mark.parametrize("arguments", [["report"], ["report", "html"], ["report", "pdf", "--runs", "x"]])
def test_incomplete_commands_are_refused(parser, arguments, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert "usage:" in capsys.readouterr().err
