# SPDX-License-Identifier: Apache-2.0
"""Kill the commands that write files (SIGKILL) at random moments, and look at what they leave.

    python benchmarks/kill_commands.py --kills 100 --seed 0

Half of the kills wait until the command has made so many new names under its output or beside it, a number drawn at
random; the others come at a random time after the first of them, of the report after its start. Then every file that
has its final name is read, `dataset.json` of a data set is checked with all that it names, and the command is run again
to its end: nothing of the killed one may be left, and the files are those of a run that nobody killed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  (imported before the forks)
import monai.bundle  # noqa: F401
import nibabel as nib
import numpy as np
import torch

import wss_monai.handlers
import wss_monai.report.page  # noqa: F401
from wss_monai.data.schema import read_dataset

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: behind `python`; OUT stands for what it writes, OUT/ for its folder.
        out: name of what it writes.
        undated: bytes of its files are the same each time.
    """

    words: tuple[str, ...]
    out: str
    undated: bool = True

    @property
    def one_file(self) -> bool:
        """It writes for a moment alone, at its end, and is killed at any time from its start."""
        return self.out.endswith(".html")


def commands(data: Path, release: Path, run: Path, model: Path) -> dict[str, Command]:
    """The commands by name."""
    inference = ROOT / "bundles" / "acdc_logbarrier" / "configs" / "inference.yaml"
    network = ("--network_def#features", "[4,4,4,4,4,4]", "--device", "$torch.device('cpu')", "--window", "[32,32]")
    verb = ("-m", "wss_monai")
    return {
        "weaken": Command((*verb, "weaken", "--data", str(data), "--strategy", "points", "--out", "OUT"), "weak"),
        "synthesize": Command((*verb, "synthesize", "toy", "--images", "6", "2", "--out", "OUT"), "made"),
        "prepare": Command((*verb, "prepare", "promise12", "--source", str(release), "--out", "OUT"), "prepared"),
        "inference": Command(
            ("-m", "monai.bundle", "run", "--config_file", str(inference), "--dataset_dir", str(data / "images"),
             "--ckpt_path", str(model), *network, "--output_dir", "OUT"), "masks",
        ),
        "report": Command((*verb, "report", "html", "--runs", str(run), "--out", "OUT"), "report.html", undated=False),
    }  # fmt: skip


class Started:
    """A command in a process of its own: a fork of this one, which has imported the libraries already."""

    def __init__(self, command: Command, folder: Path, log: Path) -> None:
        words = [word.replace("OUT", str(folder / command.out)) for word in command.words[1:]]
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be(words, log)

    def _be(self, words: list[str], log: Path) -> None:
        """Run the command as `python -m` does, and end."""
        code = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = words
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self) -> int:
        """Wait for the exit code."""
        while self.poll() is None:
            time.sleep(0.001)
        return int(self.code or 0)


@dataclass(frozen=True)
class Whole:
    """How long a command writes that nobody kills, and how many names it makes."""

    seconds: float
    names: int


def names(folder: Path) -> set[str]:
    """All names below a folder."""
    return {  # os.walk bears folders that go meanwhile
        os.path.relpath(os.path.join(place, name), folder)
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def digests(folder: Path, command: Command) -> dict[str, str]:
    """What lies below a folder; of dated files the names alone."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if command.undated else ""
        for path in files
    }


def unreadable(folder: Path, command: Command) -> list[str]:
    """Files under final names that are not whole, and a dataset.json that is not true."""
    found = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        try:
            if path.name == "dataset.json":
                read_dataset(path)
            elif path.name.endswith(".nii.gz"):
                np.asarray(nib.load(path).dataobj)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                raise ValueError("cut off")
        except Exception as error:
            found.append(f"{path.name}: {type(error).__name__}")
    return found


def kill_one(command: Command, folder: Path, log: Path, whole: Whole, R: random.Random) -> dict[str, object]:
    """Start, wait for a new name or for a random moment, kill; gives a row of the table."""
    at_name = R.random() < 0.5 and not command.one_file
    count, delay = R.randint(1, whole.names), R.uniform(0, whole.seconds)
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if command.one_file:  # there is a former report
            shutil.copy(log.with_suffix(".html"), folder / command.out)
        seen, process = names(folder), Started(command, folder, log)
        before, begun = len(seen), time.perf_counter() if command.one_file else 0.0
        while process.poll() is None:
            seen |= names(folder)
            begun = begun or (time.perf_counter() if len(seen) > before else 0.0)
            if begun and (len(seen) - before >= count if at_name else time.perf_counter() - begun >= delay):
                break
            time.sleep(0.0005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            aim = f"name {count}" if at_name else f"{delay:.3f} s"
            return {"aim": aim, "left": len(names(folder)), "half": unreadable(folder, command)}
        count, delay = max(1, count // 2), delay / 2  # it had ended before


def trial(name: str, command: Command, work: Path, kills: int, R: random.Random) -> list[dict[str, object]]:
    """Kill a command several times; each time run it again to its end, and compare."""
    log = work / f"{name}.log"
    whole = work / name / "whole"
    whole.mkdir(parents=True)
    process = Started(command, whole, log)
    first, seen = time.perf_counter() if command.one_file else 0.0, set[str]()
    while process.poll() is None:
        seen |= names(whole)
        first = first or (time.perf_counter() if seen else 0.0)
        time.sleep(0.0005)
    if process.code:
        raise RuntimeError(f"{name} ended with {process.code}: {log.read_text(errors='replace')[-500:]}")
    span = Whole(time.perf_counter() - first, len(seen))
    if command.one_file:
        shutil.copy(whole / command.out, log.with_suffix(".html"))
    expected, rows = digests(whole, command), []
    for number in range(kills):
        folder = work / name / f"kill{number}"
        row = kill_one(command, folder, log, span, R)
        code = Started(command, folder, log).wait()
        found = digests(folder, command)
        left = sorted({*found} - {*expected})
        same = found == expected
        row = {"command": name, "number": number, **row, "again": code, "left_over": left, "same": same}
        rows.append(row)
        print(json.dumps(row), flush=True)
        shutil.rmtree(folder)
    return rows


def prepare_inputs(work: Path) -> tuple[Path, Path, Path, Path]:
    """A data set, a release, a run with scores and its weights, all small.

    A fork makes them: the threads that training starts must not be in the process that is forked for each command.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _prepare_inputs(work)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the inputs could not be made")
    return work / "data", work / "release", work / "run", work / "run" / "model.pt"


def _prepare_inputs(work: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny import TINY, make_dataset, run_workflow

    from wss_monai.__main__ import main

    data = make_dataset(work / "data")
    release = work / "release"
    main(["synthesize", "promise12", "--out", str(release), "--cases", "3", "--size", "64"])
    settings = {"folder": data, "out": work / "run", "tiny": {**TINY, "train#trainer#max_epochs": 1}}
    run_workflow("train.yaml", **settings)
    run_workflow("train.yaml", "evaluate.yaml", **settings)


def summary(rows: list[Mapping[str, object]]) -> list[dict[str, object]]:
    """A row a command."""
    table = []
    for name in dict.fromkeys(row["command"] for row in rows):
        of = [row for row in rows if row["command"] == name]
        table.append(
            {
                "command": name,
                "kills": len(of),
                "left something half written": sum(bool(row["half"]) for row in of),
                "run again: leftovers": sum(bool(row["left_over"]) for row in of),
                "run again: the same files": sum(bool(row["same"]) for row in of),
            }
        )
    return table


def main() -> None:
    """Run all commands and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="over all commands (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="commands (default: all)")
    parser.add_argument("--out", type=Path, help="CSV to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(ROOT)
    R = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        found = commands(*prepare_inputs(work))
        chosen = args.only or list(found)
        rows: list[Mapping[str, object]] = []
        for index, name in enumerate(chosen):
            kills = args.kills // len(chosen) + (index < args.kills % len(chosen))
            rows += trial(name, found[name], work, kills, R)
            table = summary(rows)
            print(table[-1], flush=True)
            if args.out is not None:  # of the commands so far
                with args.out.open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(table[0]))
                    writer.writeheader()
                    writer.writerows(table)


if __name__ == "__main__":
    main()
