# SPDX-License-Identifier: Apache-2.0
"""What a training set costs in memory, and how set-up, memory and a step grow with it; docs/results/memory.md.

    python benchmarks/memory.py bytes --out OUT.csv [--tree FOLDER ...]
    python benchmarks/memory.py growth --out OUT.csv --store disk memory --cases 100 1000 10000
    python benchmarks/memory.py lists --out OUT.csv --cases 1000 4000 20000

`bytes` prepares generated volumes of 256 x 256 x 10 through the bundle acdc_logbarrier as a run does, each store in a
process of its own, and prints bytes a voxel that training sees: resident once the first batch is there, and at the
peak. A tree is another checkout of this repository, for the numbers before a change. `growth` makes stores of small
cases (32 x 32 x 10, links to 64 files). `lists` times what goes through lists of cases. Time is CPU time of one
thread.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LINKED = 64


def memory(name: str) -> int:
    """Bytes of this process by the name of a line in /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def write_case(folder: Path, name: str, shape: tuple[int, ...], R: np.random.RandomState, ending: str) -> None:
    """Write an image of noise and a scribble label."""
    affine = np.diag([1.25, 1.25, 8.0, 1.0])
    weak = R.choice([0, 1, 2, 3, 255], shape, p=[0.01, 0.01, 0.01, 0.01, 0.96]).astype(np.uint8)
    image = R.randint(0, 1000, shape).astype(np.int16)
    for kind, array in (("image", image), ("weak", weak)):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}_{kind}{ending}")


def write_set(folder: Path, count: int, shape: tuple[int, ...], distinct: int) -> None:
    """Write a data set of ``count`` cases; the files of all but ``distinct`` of them are links to those."""
    R = np.random.RandomState(0)
    folder.mkdir(parents=True)
    cases = []
    for number in range(count):
        name = f"c{number}"
        if number < distinct:
            write_case(folder, name, shape, R, ".nii")
        else:
            for kind in ("image", "weak"):
                os.link(folder / f"c{number % distinct}_{kind}.nii", folder / f"{name}_{kind}.nii")
        files = {"image": f"{name}_image.nii", "weak_label": f"{name}_weak.nii"}
        cases.append({"case": name, "patient": f"p{number}", **files})
    names = {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
    content = {
        "name": "noise",
        "labels": names,
        "weak_label": {"kind": "scribble", "values": {**names, "255": "unlabelled"}, "undrawn_means_absent": True},
        "training": cases,
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def child(tree: Path, task: str, *arguments: object) -> dict[str, Any]:
    """Run a part of this file on the package of a tree, in a process of its own; what it printed last."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", task, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def bytes_a_voxel(tree: str, folder: str, store: str) -> dict[str, Any]:
    """Train's loader of the bundle, up to its first batch."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(Path(tree) / "bundles" / "acdc_logbarrier" / "configs" / "train.yaml"))
    settings = {"dataset_dir": folder, "mode": "logbarrier", "validation": 0, "data#folds": 2, "device": "cpu"}
    settings["epoch_iterations"] = None
    for key, value in settings.items():
        parser[key] = value
    if store:
        parser["store"] = store
    parser.parse()
    parser.get_parsed_content("data")
    Path("/proc/self/clear_refs").write_text("5")
    before, anonymous, start = memory("VmRSS"), memory("RssAnon"), time.process_time()
    loader = parser.get_parsed_content("train#dataloader")
    digest = batches_digest(loader)
    seconds = time.process_time() - start
    now, peak = memory("VmRSS"), memory("VmHWM")
    tensors = loader.store.tensors
    voxels = tensors["image"].numel()
    return {
        "voxels": voxels,
        "resident": (now - before) / voxels,
        "of_it_own": (memory("RssAnon") - anonymous) / voxels,
        "peak": (peak - before) / voxels,
        "tensors": sum(value.nbytes for value in tensors.values()) / voxels,
        "seconds": seconds,
        "batches": digest,
    }


def batches_digest(loader: Any) -> str:
    """Hash of all tensors of an epoch's batches."""
    import hashlib

    found = hashlib.sha256()
    for batch in loader:
        for key in sorted(batch):
            found.update(key.encode() + batch[key].cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def growth(folder: str, store: str, count: int) -> dict[str, Any]:
    """Make, or open, a store of tiny cases, and draw batches of 8."""
    from monai.transforms import Compose, ScaleIntensityd

    from wss_monai.data import BatchLoader, PreparedCases, SliceStore, StorePlace, load_cases
    from wss_monai.transforms import LoadCased, WeakTagsd

    start = time.process_time()
    data = load_cases(folder, validation=0, folds=2)
    listing = time.process_time() - start
    cases = (data.training + data.test)[:count]
    del data
    load = LoadCased(["image", "weak_label"], num_classes=4)
    volumes = PreparedCases(cases, Compose([load, WeakTagsd(num_classes=4), ScaleIntensityd("image")]), progress=False)
    before, start = memory("RssAnon"), time.process_time()
    made = SliceStore(volumes, place=StorePlace(store, Path(folder) / "store"))
    setup = time.process_time() - start
    first = time.process_time()
    loader = BatchLoader(made, batch_size=8)
    batches = iter(loader)
    next(batches)
    first = time.process_time() - first
    steps = []
    for _ in range(100):
        start = time.process_time()
        next(batches)
        steps.append(time.process_time() - start)
    start = time.process_time()
    by_case = sum(int((tags == 1).any()) for _, tags in made.by_case("slice_tags"))
    checked = time.process_time() - start
    return {
        "cases": len(made.cases),
        "listing_s": listing,
        "setup_s": setup,
        "first_batch_ms": 1e3 * first,
        "batch_ms": 1e3 * sorted(steps)[len(steps) // 2],
        "by_case_s": checked,
        "tagged": by_case,
        "store_mb": made.columns.nbytes / 1e6,
        "store_anonymous_mb": (memory("RssAnon") - before) / 1e6,
        "resident_mb": memory("VmRSS") / 1e6,
    }


def lists(folder: str, count: int) -> dict[str, Any]:
    """CPU time of what goes through all cases of a data set without reading a volume."""
    from wss_monai.__main__ import main as command
    from wss_monai.data import load_cases, load_semi_supervised

    split = Path(folder) / "split.json"
    names = [f"p{n}" for n in range(count)]
    split.write_text(json.dumps({"training": names[: count // 2], "test": names[count // 2 :]}))
    pattern = r"(?P<patient>f\d+)_{}\.nii"
    prepare = ["prepare", "folder", "--overwrite", "--source", f"{folder}/many", "--image", pattern.format("image")]
    prepare += ["--weak-label", pattern.format("weak"), "--labels", '{"0": "background", "1": "RV"}']
    prepare += ["--weak-values", '{"0": "background", "1": "RV", "255": "unlabelled"}']

    def run(arguments: list[str]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            command(arguments)

    tasks: dict[str, Callable[[], object]] = {
        "load_cases_s": lambda: load_cases(folder, validation=0.1),
        "split_file_s": lambda: load_cases(folder, split=split),
        "semi_supervised_s": lambda: load_semi_supervised(folder, labelled=0.5, labels="weak"),
        "prepare_folder_s": lambda: run(prepare),
    }
    found: dict[str, Any] = {"cases": count}
    for name, task in tasks.items():
        start = time.process_time()
        task()
        found[name] = time.process_time() - start
    return found


@contextlib.contextmanager
def data_set(count: int, shape: tuple[int, ...], distinct: int, where: str | None) -> Iterator[Path]:
    """Write a data set to a folder that is gone afterwards."""
    work = Path(tempfile.mkdtemp(dir=where))
    try:
        write_set(work / "set", count, shape, distinct)
        yield work / "set"
    finally:
        shutil.rmtree(work, ignore_errors=True)


def rows_of(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure what the arguments say, one process after the other."""
    if args.what == "bytes":
        with data_set(args.volumes, (256, 256, 10), args.volumes, args.work) as folder:
            for tree in args.tree:
                yield {"tree": "before", "store": "memory", **child(Path(tree), "bytes", tree, folder, "")}
            for store in args.store:
                yield {"tree": "after", "store": store, **child(ROOT, "bytes", ROOT, folder, store)}
    for count in args.cases if args.what != "bytes" else ():
        with data_set(count, (32, 32, 10), LINKED, args.work) as folder:
            if args.what == "growth":
                for store in args.store:
                    for again in ("made", "opened") if store == "disk" else ("made",):
                        yield {"store": store, "folder": again, **child(ROOT, "growth", folder, store, count)}
            else:
                (folder / "many").mkdir()
                for number in range(count):
                    for kind in ("image", "weak"):
                        os.link(folder / f"c0_{kind}.nii", folder / "many" / f"f{number:06d}_{kind}.nii")
                for tree in [*args.tree, str(ROOT)]:
                    name = "after" if tree == str(ROOT) else "before"
                    yield {"tree": name, **child(Path(tree), "lists", folder, count)}


def main() -> None:
    """Measure, print and write a table."""
    if sys.argv[1:2] == ["--one"]:
        parts: dict[str, Callable[..., dict[str, Any]]] = {"bytes": bytes_a_voxel, "growth": growth, "lists": lists}
        values = [int(value) if value.isdecimal() else value for value in sys.argv[3:]]
        print(json.dumps(parts[sys.argv[2]](*values)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bytes", "growth", "lists"])
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    parser.add_argument("--store", nargs="+", default=["memory", "disk"])
    parser.add_argument("--cases", nargs="+", type=int, default=[1000, 10000])
    parser.add_argument("--volumes", type=int, default=40, help="of `bytes`")
    parser.add_argument("--tree", nargs="*", default=[], help="other checkouts, measured before this one")
    parser.add_argument("--work", help="folder for generated data (default: the system's)")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = None
        for row in rows_of(args):
            row = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            writer = writer or csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
