# SPDX-License-Identifier: Apache-2.0
"""Evaluation on the image's own grid: metrics, constraint satisfaction and predictions, in the run's folder."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.data.whole_file import check_writable, replacing
from wss_monai.functional import UNLABELLED
from wss_monai.metrics import (
    constraint_rows,
    slice_metrics,
    summarize_constraints,
    summarize_slices,
    summarize_volumes,
    volume_metrics,
)
from wss_monai.metrics.measure import measure_prediction
from wss_monai.transforms.bounds import Boundsd, spacing_of

PATHS = ("image", "weak_label", "label")


class VolumeScores:
    """Score each volume of an evaluator, and write the summary when it is done.

    The evaluator's output holds, for each case, ``pred``: class indices (1, *spatial) on the image's own grid; its
    batch holds ``label`` and ``bounds_<term>`` on that grid. Writes ``metrics_summary.json``, ``evaluation/cases.csv``,
    ``evaluation/slices.csv`` (of volumes with a dense label), ``evaluation/constraints.csv``, ``evaluation/cases.json``
    and ``evaluation/predictions/<case>.nii.gz``.

    Args:
        output_dir: the run's folder.
        cases: the case dictionaries of the data list, for their paths and names.
        class_names: background first.
        bounds: the transforms that made the bounds, for their terms, descriptors and origins.
        bounds_origin: origin of the bounds that the run was trained with, for the summary.
        seed: of the run, for the summary.
        slice_axis: axis across the slices, of bounds on slices and of ``slices.csv``.
        part: which part of the data the cases are ("test", "validation", "training"), for the summary.

    Raises:
        ValueError: no cases.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        cases: Sequence[Mapping[str, Any]],
        class_names: Sequence[str],
        bounds: Sequence[Boundsd] = (),
        bounds_origin: str = "none",
        seed: int = 0,
        slice_axis: int = 2,
        part: str = "",
    ) -> None:
        if not cases:
            raise ValueError(
                "there is no case to evaluate: the data set or split has none in this part; choose another with "
                "--evaluate_on or --split."
            )
        self.folder = Path(output_dir)
        self.cases = {str(case["case"]): dict(case) for case in cases}
        self.class_names = list(class_names)
        self.bounds = list(bounds)
        self.bounds_origin = bounds_origin
        self.seed = seed
        self.slice_axis = slice_axis
        self.part = part
        self.rows: list[dict[str, Any]] = []
        self.slices: list[dict[str, Any]] = []
        self.constraints: list[dict[str, Any]] = []
        self.written: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator with decollated output."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.rows, self.slices, self.constraints, self.written = [], [], [], []
        check_writable(self.folder)
        (self.folder / "evaluation" / "predictions").mkdir(parents=True, exist_ok=True)

    def _add(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            self._score(self.cases[str(item["case"])], item, output["pred"])

    def _score(self, case: Mapping[str, Any], item: Mapping[str, Any], prediction: Tensor) -> None:
        name = str(case["case"])
        spacing = spacing_of(prediction)
        hard = np.asarray(prediction[0].cpu()).astype(np.uint8)
        label = np.asarray(item["label"][0].cpu()).astype(np.uint8) if "label" in item else None
        known = label is not None and bool((label != UNLABELLED).any())
        about = {key: case.get(key) or "" for key in ("case", "patient", "group", "phase")}
        rows = volume_metrics(hard, label if known else None, spacing, self.class_names)
        self.rows += [{**about, **row} for row in rows]
        if label is not None and known:
            rows = slice_metrics(hard, label, self.slice_axis, self.class_names)
            self.slices += [{"case": name, "patient": about["patient"], **row} for row in rows]
        for made in self.bounds:
            region = _plain(item[made.region_key]) if made.region_key else None
            limits = _plain(item[f"bounds_{made.term}"])
            measure, bounds, units = measure_prediction(
                torch.from_numpy(hard), limits, made.descriptor, spacing, self.slice_axis, region
            )
            self.constraints += self._constraints(made, measure, bounds, units, spacing, about)
        path = self.folder / "evaluation" / "predictions" / f"{name}.nii.gz"
        affine = prediction.affine if isinstance(prediction, MetaTensor) else np.eye(4)
        with replacing(path) as temporary:
            nib.save(nib.Nifti1Image(hard, np.asarray(affine, dtype=np.float64)), temporary)
        record = {**about, "prediction": str(path.relative_to(self.folder)), "slice_axis": self.slice_axis}
        record |= {key: case.get(key) for key in PATHS}
        record |= {key: case.get(key) for key in ("label_values", "label_segments", "weak_values", "weak_segments")}
        self.written.append(record)

    def _constraints(
        self,
        made: Boundsd,
        measure: Tensor,
        bounds: Tensor,
        units: list[int | str],
        spacing: list[float],
        about: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        factor, unit = 1.0, made.descriptor.unit
        if made.descriptor.name == "size":  # in mm2 (slices) or ml (volumes), which a reader can judge
            whole = units == [""]
            plane = [s for axis, s in enumerate(spacing) if whole or axis != self.slice_axis]
            factor = float(np.prod(plane)) / (1000 if len(plane) == 3 else 1)
            unit = "ml" if len(plane) == 3 else "mm2"
        return constraint_rows(
            measure.numpy() * factor,
            bounds.numpy() * factor,
            units=units,
            term=made.term,
            origin=made.origin,
            unit=unit,
            class_names=self.class_names,
            case=about["case"],
            patient=about["patient"],
        )

    def _write(self, engine: Engine) -> None:
        folder = self.folder / "evaluation"
        summary = summarize_volumes(self.rows, self.class_names)
        summary |= summarize_slices(self.slices)
        summary["constraint_satisfaction"] = summarize_constraints(self.constraints) if self.constraints else {}
        summary |= {"evaluated_on": self.part} if self.part else {}
        summary |= {"bounds_origin": self.bounds_origin, "seed": self.seed}
        _write_csv(folder / "cases.csv", self.rows)
        _write_csv(folder / "slices.csv", self.slices)
        _write_csv(folder / "constraints.csv", self.constraints)
        _write_json(folder / "cases.json", self.written)
        _write_json(self.folder / "metrics_summary.json", summary)
        engine.state.metrics.update({k: v["mean"] for k, v in summary.items() if isinstance(v, dict) and "mean" in v})
        print(_table(summary, self.class_names))
        print(f"written to {self.folder}")


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _table(summary: Mapping[str, Any], class_names: Sequence[str]) -> str:
    columns = ["mean", *class_names[1:]]
    lines = ["".ljust(22) + "".join(name.rjust(10) for name in columns)]
    for name, value in summary.items():
        if isinstance(value, dict) and "mean" in value:
            lines.append(name.ljust(22) + "".join(f"{value[c]:10.3f}" if c in value else " " * 10 for c in columns))
    for term, value in summary["constraint_satisfaction"].items():
        shown = "".join(f"{value[c]:10.3f}" if c in value else " " * 10 for c in columns)
        lines.append(f"{term} satisfied".ljust(22) + shown)
    if "dice" not in summary:
        lines.append("no case has a dense label: Dice and distances are left out")
    return "\n".join(lines)
