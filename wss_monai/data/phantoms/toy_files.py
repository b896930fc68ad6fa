# SPDX-License-Identifier: Apache-2.0
"""Sets of toy pictures on disk: one-slice NIfTI volumes with a dataset.json, or folders of PNG as the originals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wss_monai.data.phantoms.generation import check_numbers, generator
from wss_monai.data.phantoms.toy import PARTS, Circles, Discs, Picture
from wss_monai.data.schema import write_dataset
from wss_monai.functional import UNLABELLED
from wss_monai.io.atomic_files import replacing
from wss_monai.io.nifti_files import write_volume

__all__ = ["FORMATS", "synthesize_toy"]

FORMATS = ("nifti", "png")
FOLDERS = {"image": "images", "label": "labels", "weak_label": "points"}
PNG_FOLDERS = {"image": "img", "label": "gt", "weak_label": "weak"}
SPLIT_NAMES = {"train": "training", "val": "validation"}


def synthesize_toy(
    out: Path,
    toy: Discs | Circles,
    images: tuple[int, int],
    seed: int,
    *,
    sigmas: Sequence[int] | None = None,
    file_format: str = "nifti",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Path:
    """Write a set of toy pictures.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        toy: which pictures.
        images: how many for training and for validation.
        seed: 0 or more.
        sigmas: standard deviation of the noise of each picture, training first; None: drawn from 0 to 99.
        file_format: "nifti": ``dataset.json``, ``split.json`` and volumes (W, H, 1) in ``images``, ``labels`` and
            ``points``, 1 mm. "png": 8-bit pictures in ``train`` and ``val``, each with ``img``, ``gt`` and ``weak``,
            drawn pixels 255 and the others 0, without a dataset.json.
        progress: wraps the loop over pictures, such as ``tqdm``.

    Returns:
        The path of ``dataset.json``, or ``out`` for PNG.

    Raises:
        ValueError: an unknown format, no picture to train on, a negative number, or not one sigma a picture.
    """
    if file_format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {file_format!r}")
    if images[0] < 1 or images[1] < 0:
        raise ValueError(f"images must be 1 or more for training and 0 or more for validation, got {images}")
    check_numbers(seed)
    if sigmas is not None and (len(sigmas) != sum(images) or min(sigmas) < 0):
        raise ValueError(f"noise must be {sum(images)} numbers, one a picture and 0 or more, got {list(sigmas)}")
    write = _write_nifti if file_format == "nifti" else _write_png
    names = [(part, index) for part, count in zip(PARTS, images, strict=True) for index in range(count)]
    noise = [None] * len(names) if sigmas is None else list(sigmas)
    cases = [
        write(out, part, index, toy.picture(seed, part, index, sigma))
        for (part, index), sigma in zip(progress(names), noise, strict=True)
    ]
    if file_format == "png":
        return out
    split: dict[str, list[str]] = {SPLIT_NAMES[part]: [f"{p}_{i:04d}" for p, i in names if p == part] for part in PARTS}
    with replacing(out / "split.json") as file:
        file.write_text(json.dumps(split | {"test": []}, indent=1) + "\n", encoding="utf-8")
    return write_dataset(out, _description(toy, images, seed, sigmas) | {"training": cases})


def _write_nifti(out: Path, part: str, index: int, picture: Picture) -> Mapping[str, Any]:
    case = f"{part}_{index:04d}"
    affine = _affine(picture.image.shape)
    paths = {
        key: write_volume(getattr(picture, key)[..., None], affine, out / folder / f"{case}.nii.gz")
        for key, folder in FOLDERS.items()
    }
    return {"case": case, "patient": case} | paths | {"noise_sigma": picture.sigma}


def _affine(shape: tuple[int, ...]) -> np.ndarray:
    """1 mm around the isocentre; columns run to the patient's left and rows to the back, so that viewers show the
    picture upright."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:2, 3] = [(n - 1) / 2 for n in shape]
    return affine


def _write_png(out: Path, part: str, index: int, picture: Picture) -> None:
    pictures = {"image": picture.image, "label": picture.label * 255, "weak_label": (picture.weak_label == 1) * 255}
    for key, array in pictures.items():
        folder = out / part / PNG_FOLDERS[key]
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{index:04d}.png") as file:
            Image.fromarray(array.T.astype(np.uint8)).save(file)


def _description(
    toy: Discs | Circles, images: tuple[int, int], seed: int, sigmas: Sequence[int] | None
) -> dict[str, Any]:
    size = f"{toy.size[0]} {toy.size[1]}"
    options = f"--images {images[0]} {images[1]} --size {size} --radius {toy.radius} --seed {seed}"
    if isinstance(toy, Discs):
        kind, target, name = "toy", "disc", "Toy discs"
        text = "A bright disc inside a grey one of twice its radius, in noise; a small disc in its middle is drawn."
        options += f" --edition {toy.edition}"
    else:
        kind, target, name = "two-circles", "circle", "Two circles"
        text = "A white and a grey circle in noise; the grey one is wanted, and a small disc in its middle is drawn."
        options += " --ellipses" if toy.ellipses else ""
    options += "" if sigmas is None else f" --noise {' '.join(map(str, sigmas))}"
    return {
        "name": name,
        "description": f"{text} Generated, no patient data.",
        "modality": {"0": "synthetic, 8 bit grey"},
        "labels": {"0": "background", "1": target},
        "slice_axis": 2,
        "weak_label": {"kind": "points", "values": {"1": target, str(UNLABELLED): "unlabelled"}},
        **generator(f"{kind} {options}", seed),
    }
