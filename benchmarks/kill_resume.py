# SPDX-License-Identifier: Apache-2.0
"""Kill a training (SIGKILL) at random moments, resume it each time, and compare its end with an uninterrupted run's.

    python benchmarks/kill_resume.py --kills 20 --seed 0

Some kills are aimed: at the import of the libraries, the caching of the data, an iteration, a validation, the end of an
epoch, and the very moment when a file is half written; the moment within is drawn at random. The bundle's own command
line runs; an overlay only adds a handler that notes what it is doing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "acdc_logbarrier" / "configs"
SMALL = {
    "pixdim": [4.0, 4.0, -1.0],
    "crop": [32, 32, -1],
    "window": [32, 32],
    "network_def#features": [4, 4, 4, 4, 4, 4],
    "network_def#dropout": 0.1,  # draws from PyTorch's own generator
    "batch_size": 4,
    "epoch_iterations": "null",
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}
OVERLAY = """
+imports:
- $import kill_resume
+initialize:
- $kill_resume.note(@notes, 'caching')
- $kill_resume.hold_half(@notes, '{half}', {at}, {skip})
notes: {notes}
+train#handlers:
- _target_: kill_resume.Phases
  path: '@notes'
  evaluator: '@validate#evaluator'
"""
WATCHING = ("kill_resume.", "watch.")
FILES = ("checkpoint.pt", "model.pt", "metrics.csv")
AIMS = ("training", "half a file", "validating", "import", "anywhere", "half a file", "saving", "caching")
LAST = "last checkpoint"
LENGTHS = {"import": 8.0, "caching": 0.5, "training": 0.1, "validating": 0.05, "saving": 0.05}
"""Seconds, until they are measured."""
HALF = ".part-"
"""How the temporary files begin."""
HELD = ".held"
"""How the file ends that says that a temporary file waits for the kill."""
PATIENCE = 60.0
"""Seconds until it does not wait any longer."""
EPOCHS: list[int] = []
"""That this process has noted."""


# ---- in the process that trains -------------------------------------------------------------------------------------
def note(path: str, phase: str, epoch: int = 0, iteration: int = 0) -> None:
    """Write what is done now, in one piece."""
    EPOCHS.extend([epoch] if epoch else [])
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(descriptor, f"{phase:<12}{epoch:>8}{iteration:>8}\n".encode(), 0)
    os.close(descriptor)


def hold_half(path: str, half: str, at: int, skip: int) -> None:
    """Leave the file that is aimed at under its temporary name until this process is killed, however busy the machine.

    Args:
        path: of the notes; a file beside it says that the moment has come.
        half: the file's name; "" where no file is aimed at.
        at: the epoch whose file it is; 0: the first one that this process trains, and ``skip`` epochs later.
    """
    replace = os.replace

    def late(source: Any, target: Any, **more: Any) -> None:
        if half and Path(source).name == HALF + half and EPOCHS and EPOCHS[-1] >= (at or EPOCHS[0] + skip):
            Path(path + HELD).touch()
            time.sleep(PATIENCE)
        replace(source, target, **more)

    os.replace = late


class Phases:
    """Note what the trainer is doing."""

    def __init__(self, path: str, evaluator: Any) -> None:
        self.path = path
        self.evaluator = evaluator

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        def to(phase: str) -> Any:
            return lambda _: note(self.path, phase, engine.state.epoch, engine.state.iteration)

        engine.add_event_handler(Events.EPOCH_STARTED | Events.ITERATION_COMPLETED, to("training"))
        self.evaluator.add_event_handler(Events.STARTED, to("validating"))
        self.evaluator.add_event_handler(Events.COMPLETED, to("saving"))
        engine.add_event_handler(Events.EPOCH_COMPLETED, to("saving"))
        engine.add_event_handler(Events.COMPLETED, to("finished"))


# ---- in the process that kills --------------------------------------------------------------------------------------
@dataclass
class Bundle:
    """A training that is started again and again."""

    folder: Path
    settings: Mapping[str, object]
    overlays: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=lambda: dict(LENGTHS))  # mean length of a phase

    @property
    def notes(self) -> Path:
        return self.folder.with_suffix(".phase")

    @property
    def held(self) -> Path:
        return Path(str(self.notes) + HELD)

    def start(self, resume: bool, half: str = "", at: int = 0, skip: int = 0) -> subprocess.Popen:
        overlay = self.folder.with_suffix(".yaml")
        overlay.parent.mkdir(parents=True, exist_ok=True)
        overlay.write_text(OVERLAY.format(notes=self.notes, half=half, at=at, skip=skip))
        self.notes.unlink(missing_ok=True)
        self.held.unlink(missing_ok=True)
        files = str([str(CONFIGS / name) for name in ("train.yaml", *self.overlays)] + [str(overlay)])
        settings = {**self.settings, "output_dir": self.folder, **({"resume": True} if resume else {})}
        flags = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with self.folder.with_suffix(".log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", files, *flags],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def phase(self) -> tuple[str, int, int]:
        """Phase, epoch and iteration."""
        try:
            name, epoch, iteration = self.notes.read_text().split()
        except (FileNotFoundError, ValueError):
            return "import", 0, 0
        return name, int(epoch), int(iteration)

    def half_files(self, since: float) -> list[str]:
        """Temporary files that were touched since then."""
        found = []
        for path in self.folder.glob(f"{HALF}*"):
            try:
                if path.stat().st_mtime >= since:
                    found.append(path.name.removeprefix(HALF))
            except FileNotFoundError:  # it has just taken its place
                continue
        return found

    def failure(self, code: int) -> str:
        last = self.folder.with_suffix(".log").read_text(errors="replace").strip().splitlines()[-3:]
        return f"training ended with {code}: {' / '.join(last)}"

    def run(self, resume: bool = False) -> float:
        """Run to the end, measure how long the phases are, and give the seconds."""
        started = last = time.perf_counter()
        process = self.start(resume)
        before = "import"
        spans: dict[str, list[float]] = {}
        while process.poll() is None:
            phase, now = self.phase()[0], time.perf_counter()
            if phase != before:
                spans.setdefault(before, []).append(now - last)
                before, last = phase, now
            time.sleep(0.002)
        if process.returncode:
            raise RuntimeError(self.failure(process.returncode))
        self.seconds = {name: sum(values) / len(values) for name, values in spans.items()}
        return time.perf_counter() - started


def aims(kills: int, R: random.Random) -> list[str]:
    """What each kill is aimed at; the last two at the end of the run."""
    if kills < len(AIMS) + 2:
        return [*AIMS[: max(0, kills - 1)], LAST][:kills]
    middle: list[str] = []
    while len(middle) < kills - 2:
        middle += R.sample(AIMS, len(AIMS))
    return [*middle[: kills - 2], LAST, "finished"]


def kill_one(bundle: Bundle, aim: str, resume: bool, epochs: int, R: random.Random) -> dict[str, object]:
    """Start, wait for the moment, kill; gives a row of the table."""
    lengths = bundle.seconds
    epoch_seconds = sum(lengths.get(name, 0.0) for name in ("training", "validating", "saving"))
    before = lengths["import"] + lengths["caching"]
    skip = R.randrange(2)
    spans = {"anywhere": before + 3 * epoch_seconds, "finished": 0.5}
    delay = R.uniform(0, spans.get(aim, lengths.get(aim, 0.0)))
    half = {LAST: "checkpoint.pt", "half a file": R.choice(FILES)}.get(aim)
    since = time.time()
    process = bundle.start(resume, half or "", epochs if aim == LAST else 0, skip)
    started = time.perf_counter()
    first, reached = 0, None
    while process.poll() is None:
        phase, epoch, _ = bundle.phase()
        first = first or epoch
        if half:
            there = bundle.held.exists()
        elif aim in ("import", "anywhere"):
            there = True
        elif aim in ("caching", "finished"):
            there = phase == aim
        else:
            there = phase == aim and epoch >= first + skip
        if there:
            reached = time.perf_counter()
            break
        time.sleep(0.002)
    if reached is not None:
        while process.poll() is None and time.perf_counter() < reached + delay:
            time.sleep(min(0.002, max(0.0, reached + delay - time.perf_counter())))
    killed = process.poll() is None
    if killed:
        process.send_signal(signal.SIGKILL)
    process.wait()
    seconds = time.perf_counter() - started
    if not killed and process.returncode:
        raise RuntimeError(bundle.failure(process.returncode))
    phase, epoch, iteration = bundle.phase()
    return {
        "aim": f"half {half}" if half else aim,
        "seconds": seconds,
        "phase": phase if killed else "ended before",
        "epoch": epoch,
        "iteration": iteration,
        "half": ", ".join(bundle.half_files(since)),
        "saved": saved_epoch(bundle.folder),
    }


def saved_epoch(folder: Path) -> int:
    """Epoch of the checkpoint, 0 without one; an unreadable checkpoint raises an error."""
    import torch

    path = folder / "checkpoint.pt"
    return int(torch.load(path, weights_only=True)["epoch"]) if path.is_file() else 0


# ---- comparison -----------------------------------------------------------------------------------------------------
def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Places in which two structures of tensors and plain values are not the same, bit for bit."""
    import torch

    if type(one) is not type(other):
        yield f"{where}: {type(one).__name__} and {type(other).__name__}"
    elif isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        if not same or one.contiguous().numpy().tobytes() != other.contiguous().numpy().tobytes():
            yield f"{where}: {one.flatten()[:3].tolist()} and {other.flatten()[:3].tolist()}"
    elif isinstance(one, Mapping):
        if list(one) != list(other):
            apart = sorted({*one} ^ {*other}) or "in another order"
            yield f"{where}: keys of one side alone {apart}"
        for key in one:
            if key in other:
                yield from differences(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            yield f"{where}: {len(one)} and {len(other)} items"
        for number, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{where}/{number}")
    elif one != other and not (one != one and other != other):
        yield f"{where}: {one!r} and {other!r}"


def _without_notes(saved: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint that does not say that a handler of this script, or of a test, looked on."""
    said = saved.get("settings", {}).get("configuration")
    if said:
        mine = {key for key, value in said.items() if key == "notes" or str(value) == "$@watch"}
        places = {key.rpartition("#")[0] for key, value in said.items() if str(value).startswith(WATCHING)}
        mine |= {key for key in said if key.rpartition("#")[0] in places}
        saved["settings"]["configuration"] = {key: value for key, value in said.items() if key not in mine}
    return saved


def compare(whole: Path, broken: Path, epochs: int) -> dict[str, list[str]]:
    """What was compared -> differences of two finished runs."""
    import torch

    out = {}
    for name in ("checkpoint.pt", "model.pt", "model_best.pt"):
        pair = [torch.load(folder / name, weights_only=True, map_location="cpu") for folder in (whole, broken)]
        out[name] = list(differences(*[_without_notes(saved) for saved in pair]))
    rows = [list(csv.DictReader((folder / "metrics.csv").open(newline=""))) for folder in (whole, broken)]
    out["metrics.csv (without seconds)"] = list(
        differences(*[[{k: v for k, v in row.items() if k != "seconds"} for row in run] for run in rows])
    )
    numbers = [row["epoch"] for row in rows[1]]
    expected = [str(number + 1) for number in range(epochs)]
    out["every epoch once"] = [] if numbers == expected else [f"epochs {numbers}"]
    records = [json.loads((folder / "run.json").read_text()) for folder in (whole, broken)]
    out["run.json (without the command)"] = list(
        differences(*[{key: value for key, value in record.items() if key != "command"} for record in records])
    )
    pictures = [{p.name: p.read_bytes() for p in sorted((f / "snapshots").iterdir())} for f in (whole, broken)]
    wrong = [name for name in {**pictures[0], **pictures[1]} if pictures[0].get(name) != pictures[1].get(name)]
    out["snapshots"] = wrong
    out["nothing half is left"] = [str(p) for p in broken.rglob(f"{HALF}*")]
    return out


def table(rows: Sequence[Mapping[str, object]]) -> str:
    head = ["kill", "aimed at", "seconds after start", "phase", "epoch", "iteration", "half written", "checkpoint"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for number, row in enumerate(rows, start=1):
        cells = [number, row["aim"], f"{row['seconds']:.2f}", row["phase"], row["epoch"] or "", row["iteration"] or ""]
        cells += [row["half"], f"epoch {row['saved']}" if row["saved"] else "none"]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def kill_and_resume(
    folder: Path,
    settings: Mapping[str, object],
    overlays: Sequence[str],
    plan: Sequence[str],
    epochs: int,
    R: random.Random,
) -> tuple[list[dict[str, object]], dict[str, list[str]], dict[str, float]]:
    """Rows of the table, the comparison, and seconds of the whole run and of the last resumed one."""
    settings = {**settings, "train#trainer#max_epochs": epochs}
    whole = Bundle(folder / "whole", settings, overlays)
    seconds = {"uninterrupted": whole.run()}
    broken = Bundle(folder / "broken", settings, overlays, whole.seconds)
    rows: list[dict[str, object]] = []
    for number, aim in enumerate(plan):
        rows.append(kill_one(broken, aim, number > 0, epochs, R))
        print(f"killed {len(rows)} of {len(plan)}: {rows[-1]['phase']}", file=sys.stderr, flush=True)
    seconds["last resume"] = broken.run(resume=True)
    return rows, compare(whole.folder, broken.folder, epochs), seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--mode", default="logbarrier")
    parser.add_argument("--overlays", nargs="*", default=[], help="files of the bundle's configs, after train.yaml")
    parser.add_argument("--epochs", type=int, help="of the run; without: twice the kills, at least 10")
    parser.add_argument("--dataset_dir", help="without: generated volumes")
    parser.add_argument("--out", type=Path, help="keep the runs here; without: a temporary folder")
    options = parser.parse_args()
    epochs = options.epochs or max(10, 2 * options.kills)
    R = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.out or Path(temporary)).resolve()
        data = options.dataset_dir
        if data is None:
            from wss_monai.data.phantoms.cardiac import synthesize_cardiac

            data = synthesize_cardiac(folder / "data", 4, 0).parent
        settings = {**SMALL, "dataset_dir": Path(data).resolve(), "mode": options.mode}
        rows, found, seconds = kill_and_resume(folder, settings, options.overlays, aims(options.kills, R), epochs, R)
    name = " + ".join([f"mode {options.mode}", *options.overlays])
    print(f"{name}, {epochs} epochs, {len(rows)} kills, seed {options.seed}; ", end="")
    print(", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), end="\n\n")
    print(table(rows), end="\n\n")
    print("| compared with the uninterrupted run | |\n|---|---|")
    for name, wrong in found.items():
        print(f"| {name} | {'the same' if not wrong else 'DIFFERENT: ' + '; '.join(wrong[:3])} |")
    same = not any(found.values())
    print(f"\n{'The same, bit for bit.' if same else 'NOT the same.'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
