# SPDX-License-Identifier: Apache-2.0
"""What a step of mode pseudo costs with each teacher, as a multiple of a step of mode partial, side by side.

python benchmarks/teachers.py [--rounds 40]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from wss_monai.data.phantoms.cardiac import synthesize_cardiac

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "acdc_logbarrier" / "configs"
ARMS: dict[str, dict[str, str]] = {
    "partial": {"mode": "partial"},
    "pseudo, running average": {"mode": "pseudo"},
    "pseudo, second decoder": {"mode": "pseudo", "pseudo_teacher": "decoder"},
}


def stepper(data: Path, folder: Path, **settings: str) -> Callable[[], None]:
    """A step of the bundle's trainer with `cpu.yaml` on the next batch, pseudo-labels included where there are some."""
    flow = ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in ("train.yaml", "cpu.yaml")],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        dataset_dir=str(data),
        output_dir=str(folder),
        validation=0,
        device="$torch.device('cpu')",
        **settings,
    )
    flow.initialize()
    engine: Any = flow.parser.get_parsed_content("train#trainer")
    average = flow.parser.get_parsed_content("average")
    loss = flow.parser.get_parsed_content("loss")
    loss.weights |= {name: 0.5 for name in loss.weights if name == "pseudo"}
    batches = list(engine.data_loader)
    number = 0

    def step() -> None:
        nonlocal number
        engine._iteration(engine, batches[number % len(batches)])
        number += 1
        if average is not None:
            average.update()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="steps of each arm, which take turns")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        data = synthesize_cardiac(Path(folder) / "phantom", 6, 0).parent
        steps = {name: stepper(data, Path(folder) / name, **settings) for name, settings in ARMS.items()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(rounds + 3):
            for name, step in steps.items():
                begun = time.process_time()
                step()
                if turn >= 3:
                    times[name].append(time.process_time() - begun)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<24} {1e3 * value:6.0f} ms CPU   {value / medians['partial']:.2f} of partial")


if __name__ == "__main__":
    main()
