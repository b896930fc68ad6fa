# SPDX-License-Identifier: Apache-2.0
"""What the parts of the GPU kit share: rows that survive a part that is broken off, and bundles run in this process."""

from __future__ import annotations

import argparse
import csv
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHECK = ("check", "what", "result", "detail", "seconds")
SPEED = ("group", "what", "value", "unit")
UNET: dict[str, Any] = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 4,
    "channels": [16, 32, 64, 128, 256],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
}
"""A network that halves the resolution in its first convolution, beside the bundle's own."""


def part_parser(description: str) -> argparse.ArgumentParser:
    """The settings that every part has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:0, or cpu")
    parser.add_argument("--smoke", action="store_true", help="small, for a CPU")
    parser.add_argument("--phantoms", type=Path, required=True, help="generated data sets, made where they are missing")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--rows", type=Path, required=True, help="file that rows are added to, a JSON object a line")
    return parser


class Rows:
    """Rows of a table in a file, each written as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, columns: Sequence[str], *values: Any) -> None:
        """Add a row, and show it."""
        row = dict(zip(columns, values, strict=True))
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(" | ".join(str(value) for value in values), flush=True)

    @contextmanager
    def check(self, check: str, what: str) -> Iterator[list[str]]:
        """A check that passes unless its block raises; what the block adds to the list becomes the detail."""
        started, detail = time.perf_counter(), []
        try:
            yield detail
            result = "ok"
        except Exception as error:
            import traceback

            while error.__cause__ is not None:
                error = error.__cause__
            traceback.print_exception(error)
            result, detail = "FAILED", [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]
        self.add(CHECK, check, what, result, "; ".join(detail), round(time.perf_counter() - started, 1))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, those of a part that never began included: none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table; the columns of the first come first."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def workflow(bundle: str, files: Sequence[str], settings: Mapping[str, Any]) -> Any:
    """A bundle's workflow, initialised."""
    from monai.bundle import ConfigWorkflow

    if bundle != "acdc_mutual_information":
        settings = {"epoch_iterations": None, **settings}  # an epoch is a pass, as when the results were measured
    configs = ROOT / "bundles" / bundle / "configs"
    flow = ConfigWorkflow(
        config_file=[str(configs / file) for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **settings,
    )
    flow.initialize()
    return flow


def run(flow: Any) -> None:
    """Run a workflow to its end."""
    flow.run()
    flow.finalize()


def torch_device(name: str) -> str:
    """A device as an override of a bundle."""
    return f"$torch.device('{name}')"


def device_name(device: str) -> str:
    """The card's name, or that it is a CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"CPU ({platform.machine()})"


def wait(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_mb(device: str, reset: bool = False) -> float | None:
    """Most MB allocated on the device since the last reset; None on a CPU."""
    import torch

    if not device.startswith("cuda"):
        return None
    if reset:
        torch.cuda.init()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return None
    return torch.cuda.max_memory_allocated(device) / 1e6
