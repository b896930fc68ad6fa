# SPDX-License-Identifier: Apache-2.0
"""Synthetic T2- and ADC-like volumes of the prostate on zone masks, as a data set on disk.

The gland of an image is exactly its mask, an expert's or a generated one (:mod:`.prostate_zones`). The pelvis around it
is painted for a plain gland of the same size and tilt (:mod:`.pelvis_imaging`), once for both images
(:mod:`.two_contrasts`), which differ in contrast, sharpness, noise, and in look-alikes that only one of them shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.phantoms.canvas import smooth_noise
from wss_monai.data.phantoms.generation import Progress, check_numbers, generator
from wss_monai.data.phantoms.pelvis_imaging import acquire_t2, paint_pelvis, pelvic_bias
from wss_monai.data.phantoms.prostate_anatomy import Gland
from wss_monai.data.phantoms.prostate_zones import (
    PERIPHERAL,
    TRANSITION,
    Zones,
    checked_zones,
    depth,
    generated_zones,
    on_grid,
    with_slices_outside,
)
from wss_monai.data.phantoms.two_contrasts import TwoContrasts, acquire_adc
from wss_monai.data.schema import Dataset, read_dataset, write_dataset
from wss_monai.data.simulated_tags import TAGGED, TAGS_TEXT, slice_tags
from wss_monai.io.nifti_files import write_volume
from wss_monai.io.volumes import read_volume

__all__ = ["ProstatePair", "make_pair", "synthesize_prostate"]

MODALITIES = ("T2", "ADC")
MERGED = {"0": "background", "1": "prostate", "2": "prostate"}
APART = {"0": "background", "1": "peripheral zone", "2": "transition zone"}


@dataclass(frozen=True)
class ProstatePair:
    """One case: ``t2`` and ``adc`` int16 and ``label`` uint8 0..2, all ``(X, Y, Z)``, and their affine to RAS in mm."""

    t2: np.ndarray
    adc: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def make_pair(R: np.random.RandomState, zones: Zones) -> ProstatePair:
    """Draw the images of one case.

    Args:
        R: the source of randomness; equal states give equal cases.
        zones: the mask, on the grid of the images to be.

    Returns:
        Both images and the label on the grid of ``zones``, with slices added so that about a third show no gland.
    """
    zones = with_slices_outside(zones, R)
    canvas, gland = _canvas(zones, R), zones.gland()
    paint_pelvis(canvas, R, gland, coil=False)
    canvas.adc *= np.where(canvas.adc < 2.4, 1 + 0.08 * canvas.noise(R, 4), 1)
    for image in MODALITIES:
        _look_alikes(canvas, R, gland, image)
    _paint_zones(canvas, R, zones)
    noise = R.uniform(0.012, 0.035), R.uniform(0.05, 0.12)
    t2 = acquire_t2(canvas, R, pelvic_bias(canvas, R, gland, coil=False), noise[0], R.uniform(180, 700))
    return ProstatePair(t2, acquire_adc(canvas, R, noise[1]), zones.label, zones.affine)


def _canvas(zones: Zones, R: np.random.RandomState) -> TwoContrasts:
    """An empty canvas in the frame of the gland, turned and bent a little, so that no body is symmetric."""
    u, v, z = zones.place()
    shape, (pixel, _, gap) = zones.label.shape, zones.spacing
    steps, turn = (45 / pixel, 45 / pixel, 15 / gap), R.normal(0, 0.04)
    bend = [2.0 * smooth_noise(R, shape, steps) for _ in range(2)]
    x, y = u * np.cos(turn) + v * np.sin(turn) + bend[0], v * np.cos(turn) - u * np.sin(turn) + bend[1]
    variation = np.exp(0.22 * smooth_noise(R, shape, (14 / pixel, 14 / pixel, 8 / gap)))
    return TwoContrasts(x.astype(np.float32), y.astype(np.float32), z, float(pixel), variation)


def _look_alikes(canvas: TwoContrasts, R: np.random.RandomState, gland: Gland, image: str) -> None:
    """Paint spots around the gland, below and above it too, that resemble it in one of the two images only."""
    low, high = float(canvas.z.min()), float(canvas.z.max())
    with canvas.only(image):
        for _ in range(R.randint(7, 12)):
            angle, far = R.uniform(-np.pi, np.pi), R.uniform(8, 34)
            radii = (R.uniform(6, 14), R.uniform(5, 11))
            place = ((gland.half[0] + far) * np.cos(angle), (gland.half[1] + far) * np.sin(angle))
            if R.rand() < 0.3:  # in line with the gland, where it ends
                place = (R.normal(0, 8), R.normal(0, 8))
            first = R.uniform(low - 10, high)
            depths, turn = (first, first + R.uniform(8, 30)), R.uniform(0, np.pi)
            with canvas.coefficient(R.uniform(1.3, 1.9)):
                canvas.blob(place, radii, R.uniform(0.45, 0.9), angle=turn, depths=depths, wall=(0.8, 0.13))
            inner = (place[0] + R.normal(0, 1), place[1] - 0.15 * radii[1])
            with canvas.coefficient(R.uniform(0.9, 1.5)):
                canvas.blob(
                    inner, (0.65 * radii[0], 0.6 * radii[1]), R.uniform(0.25, 0.45), angle=turn, depths=depths,
                    wall=(0.6, 0.14),
                )  # fmt: skip


def _paint_zones(canvas: TwoContrasts, R: np.random.RandomState, zones: Zones) -> None:
    """Paint the gland over what is there: capsule, peripheral zone with foci, transition zone with nodules."""
    outside = depth(zones.label > 0, canvas.edge)
    canvas.paint(outside - R.uniform(0.6, 1.1), 0.13, adc=0.9)
    outer = canvas.filled(R.uniform(0.5, 0.95) * (1 + 0.1 * canvas.noise(R, 2.5) + 0.12 * canvas.noise(R, 9, 2)))
    outer.adc[:] = R.uniform(1.45, 1.95) * (1 + 0.06 * canvas.noise(R, 4) + 0.08 * canvas.noise(R, 9, 2))
    for _ in range(R.randint(0, 5)):  # what is dark in both, and scars dark in T2 alone
        _focus(outer, R, zones, PERIPHERAL, (2.5, 6), 0.3 * R.uniform(0.8, 1.2), R.choice([0.75, 0.9, 1.4]))
    canvas.paint(outside, outer.water, adc=outer.adc)

    inner = canvas.filled(R.uniform(0.28, 0.42) * (1 + 0.22 * canvas.noise(R, 3.5) + 0.15 * canvas.noise(R, 8, 2)))
    inner.adc[:] = R.uniform(1.1, 1.4) * (1 + 0.06 * canvas.noise(R, 4) + 0.12 * canvas.noise(R, 8, 2))
    volume = (zones.label == TRANSITION).sum() * zones.spacing.prod() / 1000
    for _ in range(int(R.randint(3, 8) + min(volume, 120) / 6)):
        water, adc = ((0.16, 0.8), (0.25, 1.0), (0.4, 1.2), (0.6, 1.55), (0.85, 1.8))[R.randint(5)]
        _focus(inner, R, zones, TRANSITION, (2.0, 7.5), water * R.uniform(0.9, 1.1), adc * R.uniform(0.85, 1.15))
    central = depth(zones.label == TRANSITION, canvas.edge)
    canvas.paint(np.maximum(central - R.uniform(0.5, 1.2), outside), 0.14, adc=0.95)
    canvas.paint(central, inner.water * (1 + 0.1 * canvas.noise(R, 1.8)), adc=inner.adc)


def _focus(
    canvas: TwoContrasts, R: np.random.RandomState, zones: Zones, zone: int, sizes: tuple[float, float],
    water: float, adc: float,
) -> None:  # fmt: skip
    """Paint a rounded spot at a random voxel of a zone."""
    size, pick = R.uniform(*sizes), R.rand()
    places = np.flatnonzero(zones.label == zone)
    radii, angle = (size * R.uniform(0.8, 1.6), size), R.uniform(0, np.pi)
    if not len(places):
        return
    at = np.unravel_index(places[int(pick * len(places))], zones.label.shape)
    height = float(canvas.z[at[2]])
    with canvas.coefficient(adc):
        canvas.blob(
            (float(canvas.x[at]), float(canvas.y[at])), radii, water, angle=angle,
            depths=(height - size, height + size), wall=(0.8, 0.13),
        )  # fmt: skip


def synthesize_prostate(
    out: Path,
    zones: str | Path | None,
    patients: int | None,
    seed: int,
    *,
    test: int | None = None,
    size: int | None = None,
    field: float | None = None,
    keep_zones: bool = False,
    progress: Progress = iter,
) -> Path:
    """Write a data set of T2- and ADC-like volumes.

    Case i depends on ``seed``, ``size``, ``field``, i and its mask alone, so a larger set begins with the cases of a
    smaller one.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        zones: folder of a data set with zone masks (1 peripheral zone, 2 transition zone); None generates them.
        patients: how many; None takes all of ``zones``, 12 without.
        seed: 0 or more.
        test: how many of them, the last ones, are test patients; None takes a quarter.
        size: pixels along both sides of a slice; None keeps those of the masks (generated ones have 320).
        field: side in mm of the square around the middle of the slices that is kept; None keeps whole slices.
        keep_zones: name the two zones apart in dataset.json, instead of one class "prostate".
        progress: wraps the loop over cases, such as ``tqdm``.

    Returns:
        The path of ``dataset.json``; images and labels lie beside it in folders of these names.

    Raises:
        FileNotFoundError: there is no such data set of zones.
        ValueError: a number is out of range, or a mask does not fit; nothing is written then.
    """
    check_numbers(seed, patients)
    given = None if zones is None else read_dataset(zones)
    cases = _cases(given, patients)
    names = list(dict.fromkeys(case["patient"] for case in cases))
    held = len(names) // 4 if test is None else test
    if not 0 <= held < len(names):
        raise ValueError(f"test must be 0 or more and leave a patient to train on, got {held} of {len(names)} patients")
    labels = APART if keep_zones else MERGED
    masks = [] if given is None else [on_grid(_mask(given, case), size, field, case["case"]) for case in cases]
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "test": []}
    for index in progress(range(len(cases))):
        R = np.random.RandomState([seed, index])
        pair = make_pair(R, masks[index] if masks else generated_zones(R, size, field))
        part = "test" if cases[index]["patient"] in names[len(names) - held :] else "training"
        lists[part].append(_write(out, cases[index], pair, labels))
    return write_dataset(out, _description(given, labels, seed, len(names), held, size, field) | lists)


def _mask(given: Dataset, case: dict[str, Any]) -> Zones:
    file = str(given.file_of(case, "label"))
    volume = read_volume(file)
    return checked_zones(volume.numpy(), np.asarray(volume.affine), file)


def _cases(given: Dataset | None, patients: int | None) -> list[dict[str, Any]]:
    if given is None:
        return [{"case": f"prostate{i:03d}", "patient": f"prostate{i:03d}"} for i in range(1, (patients or 12) + 1)]
    cases = [case for case in given.training + given.test if case.get("label") is not None]
    names = list(dict.fromkeys(case["patient"] for case in cases))
    if not names:
        raise ValueError(f"{given.path}: no case has a label; the data set of the zones must hold zone masks")
    if patients is not None and patients > len(names):
        raise ValueError(f"patients must be at most {len(names)}, as many as '{given.path}' has, got {patients}")
    return [case for case in cases if case["patient"] in names[:patients]]


def _write(out: Path, case: dict[str, Any], pair: ProstatePair, labels: dict[str, str]) -> dict[str, Any]:
    name = case["case"]
    images = dict(zip(MODALITIES, (pair.t2, pair.adc), strict=True))
    return {
        "case": name,
        "patient": case["patient"],
        "image": [
            write_volume(array, pair.affine, out / "images" / f"{name}_{kind}.nii.gz", scanner=False)
            for kind, array in images.items()
        ],
        "label": write_volume(pair.label, pair.affine, out / "labels" / f"{name}.nii.gz", scanner=False),
        "weak_labels": TAGGED,
        "slice_tags": slice_tags(pair.label, labels),
    }


def _description(
    given: Dataset | None,
    labels: dict[str, str],
    seed: int,
    patients: int,
    test: int,
    size: int | None,
    field: float | None,
) -> dict[str, Any]:
    text = (
        "Synthetic T2- and ADC-like volumes of the prostate, registered; the intensities are generated; "
        + TAGS_TEXT
        + ". "
    )
    content: dict[str, Any] = {"name": "Prostate T2 and ADC (synthetic)"}
    if given is None:
        content["description"] = text + "Generated glands, no patient data."
    else:
        content["description"] = text + f"The gland and its zones are those of the masks of '{given.name}'."
        content |= {key: given.raw[key] for key in ("licence", "reference") if key in given.raw}
    words = f"--zones {'none' if given is None else given.root.name} --patients {patients} --test {test} --seed {seed}"
    words += "" if size is None else f" --size {size}"
    words += "" if field is None else f" --field {field:g}"
    words += " --keep-zones" if labels is APART else ""
    return content | {
        "modality": dict(enumerate(MODALITIES)),
        "labels": labels,
        "slice_axis": 2,
        **generator(f"prostate {words}", seed),
    }
