# SPDX-License-Identifier: Apache-2.0
"""Run the parts of the GPU kit within a time, and write their table and CSV files.

checks, side by side: tests marked gpu, a step on the device against the CPU, two epochs of each bundle, kill and
resume. speed: alone on the device. dice: as many epochs as fit into the time that is left.

    benchmarks/gpu.sh --minutes 8 --out runs/gpu
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import platform
import runpy
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import CHECK, ROOT, Rows, device_name, read_rows, write_csv

HERE = Path(__file__).parent
PARTS = ("checks", "speed", "dice")
MODULES = (
    "monai", "ignite", "nibabel", "fire", "yaml", "scipy", "skimage", "PIL", "tqdm", "matplotlib", "jinja2",
    "tensorboard", "pytest",
)  # fmt: skip
CHECKS_MOST, SPEED_MOST = 170, 150
"""Seconds after which a part is broken off."""
DATA = (
    "Data set and split of the kit, images in 8 bits, weak labels as they are; trained on folds 2 to 5, last weights, "
    "scored on fold 1 on the grid of the files; U-Net 16 to 256 of train.yaml unless an arm names another."
)
SPARE = 8
"""Seconds at the end, for the table."""


class Part:
    """A script of the kit in a process of its own, with a log; forked, so that all import once."""

    def __init__(self, name: str, words: Sequence[object], out: Path) -> None:
        self.name, self.log, self.started = name, out / f"{name}.log", time.time()
        forked = multiprocessing.get_context("fork")
        self.process = forked.Process(target=_act, args=([str(word) for word in words], self.log))
        self.process.start()

    def wait(self, until: float) -> str:
        """Wait at most until that time; what went wrong, or nothing."""
        self.process.join(max(0.1, until - time.time()))
        if late := self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.seconds = time.time() - self.started
        if late:
            return f"broken off after {self.seconds:.0f} s"
        return f"ended with {self.process.exitcode}, see its log" if self.process.exitcode else ""


def _act(words: list[str], log: Path) -> None:
    """Run a script, or a module after -m, as Python does, with all that it prints in the log."""
    os.chdir(ROOT)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    module = words[0] == "-m"
    sys.argv = words[1:] if module else words
    if module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def import_once() -> None:
    """All that the parts import; nothing of it touches the device."""
    for name in ("bundles", "dice", "kill", "pytest", "speed", "step"):
        importlib.import_module(name)


def need_modules() -> None:
    """Say what a bare machine lacks."""
    if missing := [name for name in MODULES if importlib.util.find_spec(name) is None]:
        raise SystemExit(
            f"this Python lacks {', '.join(missing)}: name them to benchmarks/gpu.sh --pack --packages, or install the "
            "project (make)."
        )


def unpack(kit: Path, work: Path) -> Path | None:
    """The phantoms and the data of the kit; the folder of the data, None where it has none."""
    for name in ("phantoms", "data"):
        if (kit / f"{name}.tar.xz").is_file():
            with tarfile.open(kit / f"{name}.tar.xz") as tar:
                tar.extractall(work, filter="data")
    return work / "data" if (work / "data").is_dir() else None


def commit(options: Any) -> str:
    """The commit that is measured: as said, of the working tree, or of the kit."""
    if options.commit:
        return options.commit
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode == 0:
        return done.stdout.strip()
    file = options.kit / "commit.txt"
    return file.read_text().strip() if file.is_file() else "unknown"


def run_checks(common: Sequence[object], options: Any, work: Path, rows: Path, until: float) -> None:
    """All checks side by side."""
    words = ["-m", "pytest", "-q", "-m", "gpu", "tests/test_device.py", "-p", "no:cacheprovider"]
    report = work / "tests.xml"
    os.environ["WSS_MONAI_TEST_DEVICE"] = options.device
    some = ["-k", "PartialCrossEntropy or partial"] if options.smoke else []
    parts = [Part("tests", [*words, *some, f"--junitxml={report}"], work)]
    parts += [Part(name, [HERE / f"{name}.py", *common, "--rows", rows], work) for name in ("bundles", "step", "kill")]
    for part in parts:
        wrong = part.wait(until)
        if part.name == "tests":
            add_tests(report, Rows(rows), wrong, part.seconds)
        elif wrong:
            Rows(rows).add(CHECK, part.name, "", "FAILED", wrong, round(part.seconds, 1))


def add_tests(report: Path, rows: Rows, wrong: str, seconds: float) -> None:
    """A row of how the tests ended, and one for each that failed."""
    if not report.is_file():
        rows.add(CHECK, "tests marked gpu", "", "FAILED", wrong or "no report", round(seconds, 1))
        return
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    count = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    detail = f"{passed} passed, {failed} failed, {count['skipped']} skipped"
    result = "ok" if passed and not failed else "FAILED"
    rows.add(CHECK, "tests marked gpu", "losses, transforms, engines, networks", result, detail, round(seconds, 1))
    for case in suite.iter("testcase"):
        for what in (*case.iter("failure"), *case.iter("error")):
            text = " ".join((what.attrib.get("message") or "").split())[:200]
            rows.add(CHECK, "test", case.attrib["name"], "FAILED", text, round(float(case.attrib["time"]), 1))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table."""
    if not rows:
        return "(no rows)"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def head(options: Any) -> dict[str, str]:
    """What was measured on what."""
    import monai
    import torch

    about = {
        "device": device_name(options.device),
        "CPU": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, MONAI {monai.__version__}",
        "commit": commit(options),
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.device.startswith("cuda"):
        about["versions"] += f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return about


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--kit", type=Path, default=ROOT / "runs" / "gpu_kit", help="what --pack wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu", help="folder of the table and the CSV files")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, help="for all of it (default: 8; 20 with --smoke)")
    parser.add_argument("--device", default=None, help="default: cuda:0; cpu with --smoke")
    parser.add_argument("--smoke", action="store_true", help="small, on a CPU")
    parser.add_argument("--arms", nargs="+", help="of the Dice part")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the Dice part")
    parser.add_argument("--epochs", type=int, help="of the Dice part, instead of as many as fit")
    parser.add_argument("--commit", help="of the code, where the working tree does not know it")
    options = parser.parse_args()
    begun = time.time()
    end = begun + 60 * (options.minutes or (20 if options.smoke else 8)) - SPARE
    need_modules()
    options.device = options.device or ("cpu" if options.smoke else "cuda:0")
    options.kit, options.out = options.kit.resolve(), options.out.resolve()
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"  # CUDA is not touched in this process
    if options.device.startswith("cuda") and subprocess.run([sys.executable, "-c", probe]).returncode:
        raise SystemExit("there is no GPU here: --smoke runs the kit on a CPU.")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = unpack(options.kit, work) if options.kit.is_dir() and not options.smoke else None
        common = ["--device", options.device, "--work", work, "--phantoms", work / "phantoms"]
        common += ["--smoke"] if options.smoke else []
        rows = {part: work / f"{part}.rows" for part in PARTS}
        kinds = ["heart"] if options.smoke else []  # several parts need them at once
        import_once()
        making = Part("phantoms", [HERE / "phantoms.py", work / "phantoms", *kinds], work)
        if wrong_making := making.wait(end):
            raise SystemExit(f"the generated data sets: {wrong_making}\n{making.log.read_text()[-2000:]}")
        wrong: dict[str, str] = {}
        most = (end, end) if options.smoke else (CHECKS_MOST, SPEED_MOST)
        if "checks" in options.parts:
            run_checks(common, options, work, rows["checks"], min(end, time.time() + most[0]))
        if "speed" in options.parts:
            part = Part("speed", [HERE / "speed.py", *common, "--rows", rows["speed"]], work)
            wrong["speed"] = part.wait(min(end, time.time() + most[1]))
        if "dice" in options.parts and (data is not None or options.smoke):
            words = [HERE / "dice.py", *common, "--rows", rows["dice"], "--seconds", end - time.time()]
            words += ["--data", data] if data else []
            words += ["--arms", *options.arms] if options.arms else []
            words += ["--seeds", *options.seeds] if options.seeds else []
            words += ["--epochs", options.epochs] if options.epochs else []
            wrong["dice"] = Part("dice", words, work).wait(end + SPARE / 2)
        elif "dice" in options.parts:
            wrong["dice"] = "the kit has no data: benchmarks/gpu.sh --pack --data data/ACDC"
        found = {part: read_rows(file) for part, file in rows.items()}
        about = head(options)
        failed = [row for row in found["checks"] if row["result"] != "ok"]
        text = [f"# {about['device']}", "", *(f"- {key}: {value}" for key, value in about.items())]
        text += [f"- seconds: {time.time() - begun:.0f}", ""]
        for part in options.parts:
            text += [f"## {part}", "", *([DATA, ""] if part == "dice" and data else []), markdown(found[part]), ""]
            if wrong.get(part):
                text += [f"**{part}: {wrong[part]}**", ""]
            if found[part]:
                write_csv(options.out / f"{part}.csv", [{**row, **about} for row in found[part]])
        (options.out / "table.md").write_text("\n".join(text))
        with (options.out / "log.txt").open("w") as log:
            for file in sorted([*work.glob("*.log"), *work.glob("dice/*/log.txt")]):
                log.write(f"\n==== {file.relative_to(work)}\n{file.read_text(errors='replace')[-20000:]}")
    print("\n".join(text))
    print(f"in {options.out}: {', '.join(sorted(path.name for path in options.out.iterdir()))}")
    return 1 if failed or any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
