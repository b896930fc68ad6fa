# SPDX-License-Identifier: Apache-2.0
"""Run folders made by hand: two tiny volumes with anisotropic, oblique voxels, and no training."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.metrics import (
    constraint_rows,
    stroke_metrics,
    summarize_constraints,
    summarize_volumes,
    summarize_weak_labels,
    volume_metrics,
)

NAMES = ["background", "RV", "LV"]
SHAPE, SPACING = (20, 14, 5), (1.5, 1.0, 8.0)
INF = np.inf


def oblique_affine():
    """Voxel to RAS+ with axes towards L, P and S, tilted by 20 degrees."""
    c, s = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.diag([-1.0, -1.0, 1.0])
    return np.block([[turn * SPACING, np.array([[4.0], [5.0], [6.0]])], [np.zeros((1, 3)), 1]])


def write_csv(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def truth(number):
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[4 + number : 9, 3:9, 1:4] = 1
    label[10:15, 4 : 9 + number, 1:4] = 2
    return label


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder and give its path."""

    def make(
        folder="run", *, cases=("p1_ED", "p1_ES", "p2_ED"), dense=True, evaluated=True, shift=1, names=NAMES,
        strokes=False, **info
    ):  # fmt: skip
        out = tmp_path / folder
        out.mkdir()
        record = {
            "bundle": "tiny", "mode": "partial", "seed": 0, "bounds_origin": "constant", "dataset": "Tiny",
            "class_names": names, "max_epochs": 3, "parameters": 41000, "device": "CPU, 1 thread(s)",
            "versions": {"monai": "1.6.1"}, "patients": {"training": ["p8", "p9"], "validation": [], "test": ["p1"]},
            **info,
        }  # fmt: skip
        (out / "run.json").write_text(json.dumps(record))
        write_csv(
            out / "metrics.csv",
            [
                {"epoch": e, "iteration": 10 * e, "seconds": 25.0 * e, "lr": 0.1, "t": "", "loss": 1 / e, "val_x": e}
                for e in (1, 2, 3)
            ],
        )
        if evaluated:
            evaluate(out, tmp_path / "data", cases, dense, shift, names, record["bounds_origin"], strokes)
        return out

    return make


def evaluate(out, data, cases, dense, shift, names, origin, strokes):
    (out / "evaluation" / "predictions").mkdir(parents=True)
    data.mkdir(exist_ok=True)
    volumes, constraints, files = [], [], []
    for number, case in enumerate(cases):
        label, affine = truth(number), oblique_affine()
        weak = np.full(SHAPE, 255, dtype=np.uint8)
        weak[6, 5, 2], weak[12, 6, 2], weak[1, 1, 2] = 1, 2, 0
        prediction = np.roll(label, shift * number, axis=1)
        image = (100 * (label > 0) + np.arange(SHAPE[0])[:, None, None]).astype(np.float32)
        paths = {"image": image, "label": label, "weak_label": weak}
        for kind, array in paths.items():
            nib.save(nib.Nifti1Image(array, affine), data / f"{case}_{kind}.nii.gz")
        nib.save(nib.Nifti1Image(prediction, affine), out / "evaluation" / "predictions" / f"{case}.nii.gz")
        about = {"case": case, "patient": case[:2], "group": "", "phase": case[3:]}
        of_weak = stroke_metrics(prediction, weak, names) if strokes else [{}, {}]
        rows = volume_metrics(prediction, label if dense else None, SPACING, names)
        volumes += [{**about, **row, **more} for row, more in zip(rows, of_weak, strict=True)]
        measure = np.array([[[(prediction == k).sum() * 0.012] for k in range(3)]])
        bounds = np.array([[[[-INF, INF]], [[0.1, 1.5]], [[-INF, 1.0]]]])
        constraints += constraint_rows(
            measure, bounds, units=[""], term="size", origin=origin, unit="ml", class_names=names, case=case,
            patient=case[:2],
        )  # fmt: skip
        files.append(
            {
                **about,
                "prediction": f"evaluation/predictions/{case}.nii.gz",
                "image": str(data / f"{case}_image.nii.gz"),
                "weak_label": str(data / f"{case}_weak_label.nii.gz"),
                "label": str(data / f"{case}_label.nii.gz") if dense else None,
                "label_values": {"0": 0, "1": 1, "2": 2},
                "weak_values": {"0": 0, "1": 1, "2": 2, "255": 255},
                "slice_axis": 2,
            }
        )
    write_csv(out / "evaluation" / "cases.csv", volumes)
    write_csv(out / "evaluation" / "constraints.csv", constraints)
    (out / "evaluation" / "cases.json").write_text(json.dumps(files))
    summary = {
        **summarize_volumes(volumes, names),
        **summarize_weak_labels(volumes, names),
        "constraint_satisfaction": summarize_constraints(constraints),
        "bounds_origin": origin,
        "seed": 0,
    }
    (out / "metrics_summary.json").write_text(json.dumps(summary))
