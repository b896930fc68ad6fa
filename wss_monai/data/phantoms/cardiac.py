# SPDX-License-Identifier: Apache-2.0
"""Synthetic short-axis cine MRI of the heart, with dense labels and scribbles, as a data set on disk.

Each patient is drawn on its own: anatomy (:mod:`.cardiac_anatomy`), surroundings (:mod:`.cardiac_torso`), image
formation (:mod:`.cardiac_imaging`). Labels are those of ACDC: 0 background, 1 right ventricle (RV), 2 myocardium (Myo),
3 left ventricle (LV, papillary muscles included).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.phantoms.canvas import Canvas, smooth_noise
from wss_monai.data.phantoms.cardiac_anatomy import GROUPS, PHASES, Ventricles, sample_ventricles
from wss_monai.data.phantoms.cardiac_imaging import acquire, coil_bias, paint_heart
from wss_monai.data.phantoms.cardiac_scribbles import bounding_box, draw_scribbles
from wss_monai.data.phantoms.cardiac_torso import paint_torso
from wss_monai.data.phantoms.generation import Progress, check_numbers, generator
from wss_monai.data.schema import write_dataset
from wss_monai.functional import UNLABELLED
from wss_monai.io.nifti_files import write_volume

LABELS = {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
_FOLDERS = {"image": "images", "label": "labels", "weak_label": "scribbles"}


@dataclass(frozen=True)
class Phase:
    """One volume: ``image`` int16, ``label`` uint8 0..3, ``scribble`` uint8 with 255 where nothing is drawn."""

    image: np.ndarray
    label: np.ndarray
    scribble: np.ndarray


@dataclass(frozen=True)
class Patient:
    """One patient: pathology-like ``group``, ``affine`` (RAS mm, shared by both phases), ``phases["ED" | "ES"]``."""

    group: str
    affine: np.ndarray
    phases: dict[str, Phase]


def make_patient(
    R: np.random.RandomState,
    *,
    group: str | None = None,
    size: tuple[int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> Patient:
    """Draw one patient.

    Args:
        R: the source of randomness; equal states give equal patients.
        group: one of NOR, DCM, HCM, RV; drawn where None.
        size: in-plane matrix; drawn where None, so that the field of view is 250 to 340 mm.
        spacing: voxel size in mm; drawn where None: 1.2 to 1.7 mm square pixels, slices 8 to 10 mm apart.

    Returns:
        The patient at end-diastole and end-systole: 8 to 11 slices on one grid, apex first.

    Raises:
        ValueError: for an unknown group, a spacing that is not positive, or a field of view under 200 mm.
    """
    group = GROUPS[R.randint(len(GROUPS))] if group is None else group
    hearts = sample_ventricles(R, group)
    depth = hearts["ED"].length
    size, spacing = _grid(R, size, spacing, depth)
    z = _depths(R, spacing[2], depth)
    x, y, rotation = _positions(R, size, spacing, len(z))

    bend = [3.5 * smooth_noise(R, x.shape, (24 / spacing[0], 24 / spacing[1], 2.5)) for _ in range(2)]
    # Towards the apex the front wall comes closer.
    closer = R.uniform(0.1, 0.35) * np.clip(z, 0, None)
    surroundings = Canvas(x + bend[0] - closer, y + bend[1], z, float(np.sqrt(spacing[0] * spacing[1])))
    wide = [hearts["ED"].reach(), hearts["ES"].reach()]
    paint_torso(surroundings, R, (max(w[0] for w in wide), max(w[1] for w in wide)), depth)
    bias, gain, noise_level = coil_bias(surroundings, R), R.uniform(110, 420), R.uniform(0.012, 0.035)
    tissue = R.randint(2**31)
    surroundings.x, surroundings.y = x, y
    phases = {name: _acquire_phase(R, hearts[name], surroundings, tissue, bias, gain, noise_level) for name in PHASES}
    return Patient(group, _affine(R, size, spacing, len(z), rotation), phases)


def _grid(
    R: np.random.RandomState, size: tuple[int, int] | None, spacing: tuple[float, float, float] | None, depth: float
) -> tuple[tuple[int, int], tuple[float, float, float]]:
    if spacing is not None and min(spacing) <= 0:
        raise ValueError(f"spacing must be three positive numbers (mm), got {spacing}")
    if spacing is None:
        pixel = round(R.uniform(1.25, 1.7), 3)
        gaps = [gap for gap in (8.0, 8.8, 9.6, 10.0) if 7.3 * gap <= depth <= 11 * gap - 8]
        spacing = (pixel, pixel, float(R.choice(gaps or [8.0])))
    if size is None:
        fov = R.uniform(275, 335)
        across = int(np.clip(round(fov * R.uniform(0.86, 1.0) / spacing[0] / 4) * 4, 160, 224))
        down = int(np.clip(round(fov / spacing[1] / 4) * 4, 160, 224))
        size = (across, down)
    if min(size[0] * spacing[0], size[1] * spacing[1]) < 200:
        raise ValueError(
            f"size {size} at spacing {spacing} covers less than 200 mm: too little for a heart, enlarge one"
        )
    return size, spacing


def _depths(R: np.random.RandomState, gap: float, depth: float) -> np.ndarray:
    """Depth (mm) of each slice, apex first: the ventricle is covered, one or two slices may lie beyond it."""
    first = R.uniform(0.1, 0.5) * gap
    needed = int(np.ceil((depth + 2 - first) / gap))
    count = int(np.clip(needed + (R.rand() < 0.4), 8, 11))
    beyond = min(max(count - needed, 0), 1)
    return ((first + (np.arange(count) - beyond) * gap)[::-1]).astype(np.float32)


def _positions(
    R: np.random.RandomState, size: tuple[int, int], spacing: tuple[float, float, float], count: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Position (mm, heart at 0) of each voxel, bent a little, shifted from slice to slice as between breath-holds."""
    rotation = R.normal(0, 0.2) + (1.3 if R.rand() < 0.12 else 0.0)
    fov = (size[0] * spacing[0], size[1] * spacing[1])
    heart = (fov[0] * (0.44 + R.uniform(-0.07, 0.07)), fov[1] * (0.43 + R.uniform(-0.06, 0.06)))
    shift = R.normal(0, 0.7, (2, count)) * spacing[0] + np.cumsum(R.normal(0, 0.6, (2, count)), axis=1)
    u = (np.arange(size[0])[:, None, None] + 0.5) * spacing[0] - heart[0] + shift[0]
    v = (np.arange(size[1])[None, :, None] + 0.5) * spacing[1] - heart[1] + shift[1]
    x, y = u * np.cos(rotation) + v * np.sin(rotation), v * np.cos(rotation) - u * np.sin(rotation)
    step = (45 / spacing[0], 45 / spacing[1], 3.0)
    bend = [1.8 * smooth_noise(R, (*size, count), step) for _ in range(2)]
    return (x + bend[0]).astype(np.float32), (y + bend[1]).astype(np.float32), rotation


def _acquire_phase(
    R: np.random.RandomState,
    heart: Ventricles,
    surroundings: Canvas,
    tissue: int,
    bias: np.ndarray,
    gain: float,
    noise_level: float,
) -> Phase:
    canvas = surroundings.copy()
    reach = max(heart.reach()) + 30
    where = bounding_box((np.abs(canvas.x) < reach) & (np.abs(canvas.y) < reach), 0)
    chest = canvas.window(where)
    distances = heart.distances(chest.x, chest.y, chest.z)
    paint_heart(chest, np.random.RandomState(tissue), heart, distances)
    label = np.zeros(canvas.x.shape, np.uint8)
    label[where] = heart.label(distances, canvas.edge**2)
    return Phase(acquire(canvas, R, noise_level, bias, gain), label, draw_scribbles(label, R, canvas.edge))


def _affine(
    R: np.random.RandomState, size: tuple[int, int], spacing: tuple[float, float, float], count: int, rotation: float
) -> np.ndarray:
    """Pose of a short-axis stack in a scanner (RAS mm): a rotation, scaled, with the heart near the isocentre."""
    axis = np.array([-0.62, 0.58, -0.53]) + R.normal(0, 0.08, 3)
    axis /= np.linalg.norm(axis)
    down = np.array([0.0, 0.0, -1.0])
    down -= down @ axis * axis
    down /= np.linalg.norm(down)
    across = np.cross(axis, down)
    across, down = (
        across * np.cos(rotation) - down * np.sin(rotation),
        down * np.cos(rotation) + across * np.sin(rotation),
    )
    affine = np.eye(4)
    # Right-handed: slices run from the apex to the base, so the third axis points back along the long axis.
    affine[:3, :3] = np.stack([across, down, -axis], 1) * spacing
    middle = (np.array([*size, count]) - 1) / 2
    affine[:3, 3] = np.array([-25.0, 15.0, 5.0]) + R.normal(0, 12, 3) - affine[:3, :3] @ middle
    return affine


def synthesize_cardiac(
    out: Path,
    patients: int,
    seed: int,
    *,
    progress: Progress = iter,
) -> Path:
    """Write a data set of synthetic patients.

    Patient i depends on ``seed`` and i alone, so a larger set begins with the patients of a smaller one. Groups take
    turns; about a quarter of the patients, of all groups in turn, make the test list.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        patients: how many.
        seed: 0 or more.
        progress: wraps the loop over patients, such as ``tqdm``.

    Returns:
        The path of ``dataset.json``; images, labels and scribbles lie beside it in folders of these names.

    Raises:
        ValueError: if ``patients`` is below 1 or ``seed`` negative.
    """
    check_numbers(seed, patients)
    lists: dict[str, list[dict[str, str]]] = {"training": [], "test": []}
    for index in progress(range(patients)):
        patient = make_patient(np.random.RandomState([seed, index]), group=GROUPS[index % len(GROUPS)])
        turn = (index + index // len(GROUPS)) % len(GROUPS)
        lists["test" if turn == 2 else "training"] += _write(out, f"patient{index + 1:03d}", patient)
    return write_dataset(out, _description(seed, patients) | lists)


def _write(out: Path, name: str, patient: Patient) -> list[dict[str, str]]:
    cases = []
    for phase, volume in patient.phases.items():
        case = f"{name}_{phase}"
        arrays = {"image": volume.image, "label": volume.label, "weak_label": volume.scribble}
        paths = {
            key: write_volume(array, patient.affine, out / _FOLDERS[key] / f"{case}.nii.gz")
            for key, array in arrays.items()
        }
        cases.append({"case": case, "patient": name, "phase": phase, "group": patient.group} | paths)
    return cases


def _description(seed: int, patients: int) -> dict[str, Any]:
    return {
        "name": "Cardiac phantom",
        "description": "Synthetic short-axis cine MRI: right ventricle, myocardium and left ventricle at end-diastole "
        "and end-systole, with scribbles. Generated, no patient data.",
        "modality": {"0": "MRI (synthetic cine)"},
        "labels": LABELS,
        "slice_axis": 2,
        "weak_label": {
            "kind": "scribble",
            "values": LABELS | {str(UNLABELLED): "unlabelled"},
            "undrawn_means_absent": True,
        },
        **generator(f"cardiac --patients {patients} --seed {seed}", seed),
    }
