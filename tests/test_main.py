# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import configparser
import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from this_process import run_module
from tiny import ROOT

from wss_monai import __main__ as command_line
from wss_monai import __version__
from wss_monai.commands.former import current


@pytest.fixture
def verb(monkeypatch):
    """Put a verb `toy` in place of the others; what it does is set by the test."""

    def place(deed):
        module = types.ModuleType("wss_monai.commands.toy")

        def add_parser(subparsers: argparse._SubParsersAction) -> None:
            parser = subparsers.add_parser("toy")
            parser.add_argument("--n", type=int, default=0)
            parser.set_defaults(run=deed)

        module.add_parser = add_parser
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(command_line, "VERBS", ("toy",))

    return place


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_that_of_the_verb(verb, answer, code):
    seen = []

    def run(args):
        seen.append(args.n)
        return answer

    verb(run)
    assert command_line.main(["toy", "--n", "7"]) == code
    assert seen == [7]


@pytest.mark.parametrize(
    "error",
    [ValueError("n=0 is too few"), FileNotFoundError("no file 'x'"), FileExistsError("'x' exists"), OSError("full")],
)
def test_errors_of_the_user_are_one_line_and_code_2(verb, capsys, error):
    def run(args):
        raise error

    verb(run)
    assert command_line.main(["toy"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"wss_monai toy: error: {error}\n"


@pytest.mark.parametrize("words", [["--debug", "toy"], ["toy", "--debug"]])
def test_debug_shows_the_traceback(verb, words):
    def run(args):
        raise ValueError("n=0 is too few")

    verb(run)
    with pytest.raises(ValueError, match="n=0 is too few"):
        command_line.main(words)


def test_errors_of_ours_are_not_hidden(verb):
    def run(args):
        raise KeyError("a mistake of the program")

    verb(run)
    with pytest.raises(KeyError):
        command_line.main(["toy"])


def test_a_verb_that_breaks_while_it_is_imported_is_not_skipped(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'nibabel'", name="nibabel")

    monkeypatch.setattr(command_line.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="nibabel"):
        command_line.main(["prepare"])


@pytest.mark.parametrize(("words", "code"), [([], 2), (["nonsense"], 2), (["--help"], 0), (["--version"], 0)])
def test_usage(words, code, capsys):
    with pytest.raises(SystemExit) as leave:
        command_line.main(words)
    assert leave.value.code == code
    assert "wss_monai" in "".join(capsys.readouterr())


def test_version(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--version"])
    assert capsys.readouterr().out == f"wss_monai {__version__}\n"


def test_as_a_process_without_heavy_imports():
    """Help comes at once: neither torch nor MONAI is imported for it."""
    code = """
import sys
from wss_monai.__main__ import main
try:
    main(["--help"])
except SystemExit as leave:
    sys.exit(leave.code or ", ".join({"torch", "monai"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "prepare" in done.stdout


def entry_point() -> EntryPoint:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (line,) = setup["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, value = line.split(" = ")
    return EntryPoint(name, value, "console_scripts")


def test_the_installed_command_is_main():
    assert entry_point().name == command_line.COMMAND
    assert entry_point().load() is command_line.main


def as_installed(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run what pip writes for the entry point."""
    module, function = entry_point().value.split(":")
    script = folder / entry_point().name
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return subprocess.run(
        [sys.executable, str(script), *words],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_installed_command_names_itself_and_exits_with_the_status_of_main(tmp_path):
    done = as_installed(tmp_path, "--help")
    assert (done.returncode, done.stdout.split("\n")[0][:17]) == (0, "usage: wss-monai ")
    done = as_installed(tmp_path, "prepare", "acdc", "--source", "nowhere.zip", "--out", str(tmp_path / "never-made"))
    assert done.returncode == 2
    assert done.stderr.startswith("wss-monai prepare: error: source 'nowhere.zip' does not exist")


def test_prepare_without_a_source_is_an_error_of_the_user(tmp_path):
    done = run_module("wss_monai", "prepare", "acdc", "--source", "nowhere.zip", "--out", "never-made", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("wss_monai prepare: error: source 'nowhere.zip' does not exist")
    assert "Traceback" not in done.stderr


def options(parser: argparse.ArgumentParser) -> set[str]:
    """All option strings of a parser and of those below it."""
    found = {option for action in parser._actions for option in action.option_strings}
    below = [a.choices.values() for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return found.union(*(options(child) for children in below for child in children))


def test_options_are_written_with_dashes():
    assert [option for option in options(command_line.make_parser()) if "_" in option] == []


@pytest.mark.parametrize(
    ("former", "today"),
    [
        (["prepare", "folder", "--weak_label=a_b"], ["prepare", "folder", "--weak-label=a_b"]),
        (["prepare", "folder", "--dry_run", "--name", "a_b"], ["prepare", "folder", "--dry-run", "--name", "a_b"]),
        (["pseudo-label", "--set", "a_b=1"], ["pseudo-label", "--set", "a_b=1"]),
        (["weaken", "--strategy", "cam", "--score_cues"], ["pseudo-label", "--score-cues"]),
        (["weaken", "--out", "o", "--strategy=cam"], ["pseudo-label", "--out", "o"]),
        (["weaken", "--strategy", "points"], ["weaken", "--strategy", "points"]),
        (["synthesize", "prostate", "--layout", "brats", "--zones", "none"], ["synthesize", "brain"]),
        (["synthesize", "prostate", "--layout=dataset", "--out", "o"], ["synthesize", "prostate", "--out", "o"]),
        (["prepare", "folder", "--", "--a_b"], ["prepare", "folder", "--", "--a_b"]),
    ],
)
def test_former_words_mean_what_they_meant(former, today):
    assert current(former) == today


def test_a_verb_of_another_name_says_so(capsys):
    current(["synthesize", "prostate", "--layout", "brats"])
    said = "note: 'synthesize prostate --layout brats' is now 'synthesize brain'; the old words work for one release\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "words",
    [
        "prepare folder --source s --image i --labels l --weak_label w --weak_values v --weak_kind k --slice_axis 1 "
        "--undrawn_means_absent --weak_segments t --dry_run",
        "prepare brats --source s --out o --keep_classes --skip_incomplete",
        "prepare decathlon --source s --out o --task 1 --keep_classes",
        "prepare localization-cues --source s --out o --num_classes 3",
        "report browse --runs r --no_contours --limit_mb 7",
        "score --predictions p --data d --class_names [] --processes 2",
        "bounds --fit d --out o --split_seed 3",
        "pseudo-label --data d --out o --config_file c --score_cues",
    ],
)
def test_underscores_in_options_give_the_same(words):
    parser, today = command_line.make_parser(), [w.replace("_", "-") if w[:2] == "--" else w for w in words.split()]
    assert current(words.split()) == today != words.split()
    assert vars(parser.parse_args(current(words.split()))) == vars(parser.parse_args(today))


@pytest.mark.parametrize("words", [["report", "curves"], ["check"], ["synthesize", "cardiac"]])
def test_help_shows_no_back_quotes(words, capsys):
    with pytest.raises(SystemExit):
        command_line.main([*words, "--help"])
    assert "`" not in capsys.readouterr().out
