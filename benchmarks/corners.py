# SPDX-License-Identifier: Apache-2.0
"""The slow corners before and now, and beside a peer where there is one: CPU time, sides taking turns, as ratios.

    mkdir -p runs/before && git archive 39622d4 | tar -x -C runs/before
    python benchmarks/corners.py --before runs/before --out docs/results/speed/corners.csv

``--before`` is a folder with an older state of this repository; its package is imported beside the present one. The
dense CRF has a peer where pydensecrf can be imported (pip install pydensecrf2). One thread. Memory is the peak of a
fresh process over what it held before the call; commands are timed as processes of their own, imports included.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import csv
import functools
import importlib
import importlib.util
import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from crf import CLEAR, MB, batch_of, resident, settle
from monai.inferers import SliceInferer
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import ScaleIntensityRangePercentiles
from speed import interleaved

ROOT = Path(__file__).resolve().parents[1]
Sides = dict[str, Callable[[], object]]


def load(tree: Path, name: str) -> Any:
    """A module of the package of that tree, beside those of other trees."""
    others = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == "wss_monai"}
    sys.path.insert(0, str(tree))
    try:
        found: ModuleType = importlib.import_module(f"wss_monai.{name}")
    finally:
        sys.path.remove(str(tree))
        for key in [key for key in sys.modules if key.split(".")[0] == "wss_monai"]:
            del sys.modules[key]
        sys.modules.update(others)
    if not str(found.__file__).startswith(str(tree)):
        raise ImportError(f"{found.__file__} is not of {tree}")
    return found


def row(what: str, sides: Sides, rounds: int, unit: str = "ms", goal: str = "") -> dict[str, str]:
    """Time "before" and "now", and a "peer"; milliseconds a call."""
    return cells(what, {name: 1e3 * value for name, value in interleaved(sides, rounds).items()}, unit, goal)


def cells(what: str, found: dict[str, float], unit: str, goal: str = "") -> dict[str, str]:
    """A row of the table."""
    peer = found.get("peer")
    out = {"what": what, "unit": unit, "before": f"{found['before']:.3g}", "now": f"{found['now']:.3g}"}
    out |= {"now / before": f"{found['now'] / found['before']:.2f}", "peer": f"{peer:.3g}" if peer else ""}
    for name in ("before", "now"):
        out[f"{name} / peer"] = f"{found[name] / peer:.2f}" if peer else ""
    return {**out, "goal": goal}


def crf(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """The dense CRF on the lattice, and the loss of Seed, Expand and Constrain that has it inside."""
    old, new = (load(tree, "functional.crf").dense_crf for tree in (before, ROOT))
    there = importlib.util.find_spec("pydensecrf") is not None
    for shape, goal in (((256, 256), ".8 of the peer"), ((512, 512), ".6 of the peer"), ((32, 64, 64), "")):
        given = batch_of(shape, 4, 1, 1)
        sides: Sides = {
            "before": lambda given=given: old(*given, method="lattice"),
            "now": lambda given=given: new(*given, method="lattice"),
        }
        if there:
            sides["peer"] = lambda given=given: new(*given, method="pydensecrf")
        yield row(f"dense CRF, {' x '.join(map(str, shape))} x 4", sides, rounds, goal=goal)
    logits, image = batch_of((41, 41), 21, 3, 8)
    yield row(
        "dense CRF, exact, 8 x 41 x 41 x 21",
        {"before": lambda: old(logits, image, method="exact"), "now": lambda: new(logits, image, method="exact")},
        rounds,
    )
    logits = logits.requires_grad_()
    old, new = (load(tree, "losses").ConstrainToBoundaryLoss(image_scale=1.0) for tree in (before, ROOT))
    sides = {"before": lambda: old(logits, image).backward(), "now": lambda: new(logits, image).backward()}
    if there:
        method = load(ROOT, "networks").DenseCRF(method="pydensecrf")
        peer = load(ROOT, "losses").ConstrainToBoundaryLoss(method, image_scale=1.0)
        sides["peer"] = lambda: peer(logits, image).backward()
    yield row("Constrain, 8 x 41 x 41 x 21, default CRF", sides, rounds, goal="1 of the peer")


def partial(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """Partial cross-entropy against torch's, with Dice against MONAI's; forward and backward."""
    old, new = (load(tree, "losses") for tree in (before, ROOT))
    logits = torch.randn(8, 4, 256, 256, requires_grad=True)
    dense = torch.randint(0, 4, (8, 1, 256, 256)).to(torch.uint8)
    drawn = torch.where(torch.rand(dense.shape) < 0.05, dense, 255).to(torch.uint8)
    monai = DiceCELoss(softmax=True, to_onehot_y=True)
    for what, name, target, settings, peer in (
        ("partial cross-entropy", "PartialCrossEntropyLoss", drawn, {}, None),
        ("partial cross-entropy per sample", "PartialCrossEntropyLoss", drawn, {"per_sample": True}, None),
        ("PartialDiceCELoss, dense labels", "PartialDiceCELoss", dense, {}, monai),
    ):
        sides: Sides = {
            side: functools.partial(step, getattr(of, name)(**settings), logits, target)
            for side, of in (("before", old), ("now", new))
        }
        sides["peer"] = (
            (lambda target=target: monai(logits, target).backward())
            if peer
            else (lambda target=target: F.cross_entropy(logits, target[:, 0].long(), ignore_index=255).backward())
        )
        yield row(f"{what}, 8 x 4 x 256 x 256", sides, rounds, goal="1.1 of the peer")


def step(loss: Callable[..., torch.Tensor], logits: torch.Tensor, target: torch.Tensor) -> None:
    loss(logits, target).backward()


def length(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """Length and compactness: time and peak memory."""
    probs = torch.rand(8, 4, 256, 256, requires_grad=True)
    for name, goal in (("Length", "25 ms"), ("Compactness", "25 ms")):
        old, new = (getattr(load(tree, "functional.descriptors"), name)() for tree in (before, ROOT))
        sides: Sides = {"before": lambda: old(probs).sum().backward(), "now": lambda: new(probs).sum().backward()}  # noqa: B023
        yield row(f"{name}, 8 x 4 x 256 x 256", sides, rounds, goal=goal)
    if CLEAR.exists():
        used = {}
        for side, tree in (("before", before), ("now", ROOT)):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                used[side] = pool.apply(peak_of_length, (str(tree),))
        yield cells("Length, peak memory over the input's", used, "x", "4 x")


def peak_of_length(tree: str) -> float:
    """Peak memory of one call, forward and backward, in sizes of its input; in a process of its own."""
    torch.set_num_threads(1)
    measure = load(Path(tree), "functional.descriptors").Length()
    measure(torch.rand(1, 1, 8, 8, requires_grad=True)).sum().backward()
    probs = torch.rand(8, 4, 256, 256, requires_grad=True)
    settle()
    CLEAR.write_text("5")
    start = resident()
    measure(probs).sum().backward()
    return (resident("VmHWM") - start) / (probs.numel() * 4 / MB)


def arrays(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """Percentiles of a volume, a generated patient, a scribble."""
    image = torch.rand(1, 256, 216, 10) * 1000
    now = load(ROOT, "transforms.percentiles").ScalePercentiles
    given = {"lower": 0.5, "upper": 99.0, "b_min": 0.0, "b_max": 1.0, "clip": True, "channel_wise": True}
    sides: Sides = {
        "before": lambda: ScaleIntensityRangePercentiles(**given)(image),
        "now": lambda: now(**given)(image),
    }
    yield row("percentiles of a volume, 256 x 216 x 10", sides, rounds)
    old, new = (load(tree, "data.phantoms.cardiac").synthesize_cardiac for tree in (before, ROOT))
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "before": lambda: old(Path(folder) / "before", 1, 0),
            "now": lambda: new(Path(folder) / "now", 1, 0),
        }
        yield row("synthesize cardiac, a patient", sides, max(3, rounds // 3), goal="300 ms")
        label = np.asarray(nib.load(sorted((Path(folder) / "now" / "labels").iterdir())[0]).dataobj)
    old, new = (load(tree, "transforms.weak_labels").RandWeakLabel("scribble", 2) for tree in (before, ROOT))
    sides = {
        "before": lambda: old.paint(label[None], np.random.RandomState(0)),
        "now": lambda: new.paint(label[None], np.random.RandomState(0)),
    }
    yield row("scribbles of a case, 180 x 208 x 9", sides, rounds, goal="300 ms")


def inference(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """Slices of a volume by MONAI's inferer, in the windows of the bundles then and now, against the network alone."""
    network = BasicUNet(2, 1, 4, features=(8, 16, 32, 64, 64, 8), norm="batch", act="relu", upsample="nontrainable")
    network.eval()
    volume = torch.rand(1, 1, 128, 128, 128)

    def slices(window: list[int]) -> Callable[[], object]:
        inferer = SliceInferer(roi_size=window, spatial_dim=2, sw_batch_size=16, overlap=0.25, mode="gaussian")
        return lambda: inferer(volume, network)

    sides: Sides = {
        "before": torch.no_grad()(slices([256, 256])),
        "now": torch.no_grad()(slices([-1, -1])),
        "peer": torch.no_grad()(lambda: [network(part) for part in volume[0].movedim(3, 0).split(16)]),
    }
    yield row(
        "slices of 128 x 128 x 128, against the network alone", sides, max(3, rounds // 3), goal="1.15 of the peer"
    )


def commands(before: Path, rounds: int) -> Iterator[dict[str, str]]:
    """Commands as processes, on six generated patients (12 volumes)."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = f"{folder}/data", f"{folder}/out"
        spend(ROOT, ["synthesize", "cardiac", "--out", data, "--patients", "6"], out)
        for what, words in (
            ("synthesize cardiac, 3 patients", ["synthesize", "cardiac", "--out", out, "--patients", "3"]),
            ("check", ["check", data]),
            ("weaken random_blob", ["weaken", "--data", data, "--strategy", "random_blob", "--out", out]),
            ("weaken scribble", ["weaken", "--data", data, "--strategy", "scribble", "--out", out]),
        ):
            found: dict[str, list[float]] = {"before": [], "now": []}
            for _ in range(3):
                for side, tree in (("before", before), ("now", ROOT)):
                    found[side].append(spend(tree, words, out))
            yield cells(f"command: {what}", {side: min(values) for side, values in found.items()}, "s")
        yield report(before, Path(data), Path(folder))


def spend(tree: Path, words: list[str], out: str) -> float:
    """CPU seconds of a command of that tree; what it writes to ``out`` is removed before."""
    shutil.rmtree(out, ignore_errors=True)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(
        [sys.executable, "-m", "wss_monai", *words], check=True, cwd=tree, env=environment, capture_output=True
    )
    stop = resource.getrusage(resource.RUSAGE_CHILDREN)
    return stop.ru_utime + stop.ru_stime - start.ru_utime - start.ru_stime


def report(before: Path, data: Path, folder: Path) -> dict[str, str]:
    """The report of a run with 56 scored volumes (those of the data set over again), import included."""
    run = folder / "run"
    scored_run(run, data)
    found = {}
    for side, tree in (("before", before), ("now", ROOT)):
        words = ["report", "html", "--runs", str(run), "--out", str(folder / f"{side}.html")]
        found[side] = min(spend(tree, words, str(folder / "none")) for _ in range(2))
    return cells("command: report html, 56 volumes", found, "s", "5 and the import")


def scored_run(run: Path, data: Path, count: int = 56) -> None:
    """A run folder whose predictions are the labels, shifted by a few voxels."""
    metrics = load(ROOT, "metrics")
    lists = json.loads((data / "dataset.json").read_text())
    names, cases = list(lists["labels"].values()), [*lists["training"], *lists["test"]]
    (run / "evaluation" / "predictions").mkdir(parents=True)
    volumes, files, constraints = [], [], []
    for number in range(count):
        case = cases[number % len(cases)]
        name, about = f"p{number:02d}", {"case": f"p{number:02d}", "patient": f"p{number:02d}"}
        image: Any = nib.load(data / case["label"])
        label, steps = np.asarray(image.dataobj).astype(np.uint8), [float(x) for x in image.header.get_zooms()[:3]]
        shown = np.roll(label, number % 5, 0)
        nib.save(nib.Nifti1Image(shown, image.affine), run / "evaluation" / "predictions" / f"{name}.nii.gz")
        volumes += [{**about, **line} for line in metrics.volume_metrics(shown, label, steps, names)]
        area = np.array([[(plane == k).sum() * steps[0] * steps[1] for k in range(len(names))] for plane in shown.T])
        limits = np.tile([10.0, 6000.0], (*area.shape, 1, 1))
        constraints += metrics.constraint_rows(
            area[..., None], limits, units=[str(k) for k in range(len(area))], term="size", origin="constant",
            unit="mm2", class_names=names, **about,
        )  # fmt: skip
        paths = {key: str((data / case[key]).resolve()) for key in ("image", "label", "weak_label")}
        values = {str(k): k for k in range(len(names))}
        files.append(
            {**about, **paths, "prediction": f"evaluation/predictions/{name}.nii.gz", "slice_axis": 2,
             "label_values": values, "weak_values": {**values, "255": 255}}
        )  # fmt: skip
    summary = {"bounds_origin": "constant", "seed": 0, **metrics.summarize_volumes(volumes, names)}
    summary["constraint_satisfaction"] = metrics.summarize_constraints(constraints)
    about_run = {"bundle": "acdc_logbarrier", "mode": "logbarrier", "seed": 0, "bounds_origin": "constant"}
    about_run |= {"dataset": "hearts", "class_names": names, "max_epochs": 20, "parameters": 1, "device": "CPU"}
    about_run |= {"versions": {}, "patients": {"training": [], "validation": [], "test": []}}
    for name, content in (("run.json", about_run), ("metrics_summary.json", summary), ("evaluation/cases.json", files)):
        (run / name).write_text(json.dumps(content))
    curve = [{"epoch": e, "iteration": e, "seconds": e, "lr": 0.1, "loss": 1 / e, "val_dice": e} for e in range(1, 21)]
    for name, lines in (("evaluation/cases", volumes), ("evaluation/constraints", constraints), ("metrics", curve)):
        write(run / f"{name}.csv", lines)


def write(file: Path, lines: list[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
        table.writeheader()
        table.writerows(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="folder with an older state of this repository")
    parser.add_argument("--rounds", type=int, default=9)
    parts = {part.__name__: part for part in (crf, partial, length, arrays, inference, commands)}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), help="of the table (default: all)")
    parser.add_argument("--out", type=Path, default=None, help="CSV to write")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = []
    for part in options.parts:
        for line in parts[part](options.before.resolve(), options.rounds):
            print(" | ".join(line.values()), flush=True)
            lines.append(line)
    if options.out:
        write(options.out, lines)


if __name__ == "__main__":
    main()
