# SPDX-License-Identifier: Apache-2.0
"""Wall time of training in one process and in two (gloo, CPU), by the bundle's command line.

    python benchmarks/processes.py

One thread a process. The two processes run once with half the batch each (the method of a single process) and once with
the whole batch each (half the steps).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "acdc_logbarrier" / "configs"


def train(processes: int, settings: Mapping[str, object]) -> tuple[float, list[dict[str, str]]]:
    """Wall time of the command in seconds, and the rows of its metrics.csv."""
    overlays = ["train.yaml", "cpu.yaml", *(["multi_gpu_train.yaml"] if processes > 1 else [])]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc_per_node={processes}"]
    bundle = ["-m", "monai.bundle", "run", "training", "--config_file", str([str(CONFIGS / name) for name in overlays])]
    flags = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *bundle, *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(f"training ended with {done.returncode}:\n{done.stderr[-3000:]}")
    seconds = time.perf_counter() - started
    with (Path(str(settings["output_dir"])) / "metrics.csv").open(newline="") as file:
        return seconds, list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", help="without: 12 generated patients")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.dataset_dir
        if data is None:
            from wss_monai.data.phantoms.cardiac import synthesize_cardiac

            data = synthesize_cardiac(Path(folder) / "data", 12, 0).parent
        head = "| processes | batch of each | steps an epoch | s an epoch | against one process | whole command |"
        print(f"{options.epochs} epochs, the first not counted in 's an epoch'; {os.cpu_count()} cores\n\n{head}")
        print("|" + "---|" * 6, flush=True)
        alone = None
        for processes, batch in ((1, options.batch_size), (2, options.batch_size // 2), (2, options.batch_size)):
            out = Path(folder) / f"{processes}_{batch}"
            settings = {"dataset_dir": Path(data).resolve(), "output_dir": out, "batch_size": batch}
            settings["epoch_iterations"] = "null"
            settings["train#trainer#max_epochs"] = options.epochs
            seconds, rows = train(processes, settings)
            clock = [float(row["seconds"]) for row in rows]
            epoch = statistics.median(b - a for a, b in itertools.pairwise(clock))
            alone = alone or epoch
            print(f"| {processes} | {batch} | {rows[0]['iteration']} | {epoch:.2f} |", end="")
            print(f" {alone / epoch:.2f} times as fast | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
