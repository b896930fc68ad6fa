# SPDX-License-Identifier: Apache-2.0
"""A tiny data set and the settings that make a bundle train on it in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from this_process import run_module

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "acdc_logbarrier" / "configs"
TINY = {
    "pixdim": [2.0, 2.0, -1.0],
    "crop": [32, 32, -1],
    "window": [32, 32],
    "network_def#features": [4, 4, 4, 4, 4, 4],
    "batch_size": 4,
    "train#trainer#max_epochs": 2,
    "epoch_iterations": "null",
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
    "size_bounds": {"RV": [10, 2000], "Myo": [10, 2000], "LV": [10, 2000]},
}
UNET_3D = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": "$len(@class_names)",
    "channels": [4, 8],
    "strides": [[2, 2, 1]],
    "num_res_units": 0,
}
"""The network of train_3d.yaml, tiny; instead of what `TINY` says of the network."""


def make_dataset(folder: Path, patients: int = 4, dense: bool = True, slices: int = 4) -> Path:
    """Three nested or neighbouring discs on noisy volumes with an oblique, anisotropic affine, drawn by scribbles."""
    R = np.random.RandomState(0)
    for kind in ("images", "labels", "scribbles"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    affine = np.diag([2.0, 2.0, 8.0, 1.0]) @ np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    affine[:3, :3] = affine[:3, :3] @ np.diag(np.array([2, 2, 8]) / np.linalg.norm(affine[:3, :3], axis=0))
    cases = []
    for number in range(patients):
        shape = (36, 34, slices)
        x, y, _ = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
        r = np.hypot(x - 18 - R.randint(-2, 3), y - 16 - R.randint(-2, 3))
        label = np.zeros(shape, np.uint8)
        label[(r < 12) & (x < 16)] = 1
        label[r < 8] = 2
        label[r < 5] = 3
        label[..., 0][label[..., 0] == 1] = 0
        image = np.array([0.2, 0.7, 0.4, 0.9])[label] * 200 + R.randn(*shape) * 10
        weak = np.full(shape, 255, np.uint8)
        drawn = R.rand(*shape) < 0.1
        weak[drawn] = label[drawn]
        case = f"p{number}_ED"
        entry = {"case": case, "patient": f"p{number}", "phase": "ED", "group": "AB"[number % 2]}
        maps = {"images": image.astype(np.int16), "scribbles": weak, **({"labels": label} if dense else {})}
        for kind, array in maps.items():
            nib.save(nib.Nifti1Image(array, affine), folder / kind / f"{case}.nii.gz")
        entry |= {"image": f"images/{case}.nii.gz", "weak_label": f"scribbles/{case}.nii.gz"}
        if dense:
            entry["label"] = f"labels/{case}.nii.gz"
        cases.append(entry)
    content = {
        "name": "discs",
        "labels": {"0": "background", "1": "RV", "2": "Myo", "3": "LV"},
        "modality": {"0": "MRI"},
        "slice_axis": 2,
        "weak_label": {
            "kind": "scribble",
            "values": {"0": "background", "1": "RV", "2": "Myo", "3": "LV", "255": "unlabelled"},
            "undrawn_means_absent": True,
        },
        "training": cases[1:],
        "test": cases[:1],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_series(image: Any, folder: Path) -> None:
    """Write a volume of SimpleITK's as a DICOM series."""
    import SimpleITK as sitk

    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    axes = np.reshape(image.GetDirection(), (3, 3))
    for i in range(image.GetDepth()):
        piece = image[:, :, i]
        place = image.TransformIndexToPhysicalPoint((0, 0, i))
        for key, value in {
            "0008|0060": "MR",
            "0010|0020": "hans", "0020|000e": "1.2.3", "0020|000d": "1.2",
            "0008|0018": f"1.2.3.{i}", "0020|0013": str(i),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "\\".join(map(str, (*axes[:, 0], *axes[:, 1]))),
        }.items():  # fmt: skip
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{i}.dcm"))
        writer.Execute(piece)


def workflow(
    *files: str,
    folder: Path,
    out: Path,
    kind: str = "train",
    bundle: str = "acdc_logbarrier",
    tiny: Mapping[str, Any] = TINY,
    **overrides,
) -> ConfigWorkflow:
    """A bundle's workflow on the tiny data, not yet initialised; ids are written with ``#``."""
    configs = ROOT / "bundles" / bundle / "configs"
    settings = {**tiny, "dataset_dir": str(folder), "output_dir": str(out), **overrides}
    return ConfigWorkflow(
        config_file=[str(configs / file) for file in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        **settings,
    )


def run_workflow(*files: str, execute: bool = True, **settings) -> ConfigWorkflow:
    """Initialise a bundle's workflow on the tiny data, run it unless told not to, and give it back."""
    flow = workflow(*files, **settings)
    flow.initialize()
    if execute:
        flow.run()
        flow.finalize()
    return flow


def user_error(error: BaseException) -> str:
    """What a user reads at the end of MONAI's chain of errors: the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def interrupt(flow: ConfigWorkflow, epoch: int) -> None:
    """Run a workflow and break it off, as Ctrl-C does, after the first iteration of an epoch (from 1)."""

    def stop(engine: Engine) -> None:
        if engine.state.epoch == epoch:
            raise KeyboardInterrupt

    flow.parser.get_parsed_content("train#trainer").add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(KeyboardInterrupt):
        flow.run()


def flags(**overrides: Any) -> list[str]:
    """Overrides as words of a command."""
    return [str(part) for key, value in overrides.items() for part in (f"--{key}", value)]


def command_line(*arguments: str, cwd: Path = ROOT, **overrides) -> subprocess.CompletedProcess:
    """``python -m monai.bundle`` with overrides, as a user types it, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", *arguments, *flags(**overrides)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )


def command_here(*arguments: str, cwd: Path = ROOT, **overrides) -> subprocess.CompletedProcess:
    """``command_line`` in this process, which is seconds faster: for what another test starts for real."""
    return run_module("monai.bundle", *arguments, *flags(**overrides), cwd=cwd)


def differing_voxels(run: Path) -> dict[str, int]:
    """Predict what a run's evaluation has predicted, from the run's folder alone: case -> voxels that differ."""
    from wss_monai.prediction import Predictor

    predictor = Predictor(run)
    cases = json.loads((run / "evaluation" / "cases.json").read_text())
    if predictor.needs_all:
        predictor.solve([case["image"] for case in cases])
    found = {}
    for case in cases:
        expected = np.asarray(nib.load(run / case["prediction"]).dataobj)
        found[case["case"]] = int((predictor(case["image"]).mask != expected).sum())
    return found
