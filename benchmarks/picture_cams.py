# SPDX-License-Identifier: Apache-2.0
"""The picture of activation maps in docs: three slices of a generated patient, each mode and modality.

    python -m wss_monai synthesize prostate --zones none --patients 4 --size 160 --seed 7 --out data/PROSTATE_GENERATED
    python benchmarks/picture_cams.py

The networks are those of benchmarks/prostate_cross_modality.py, which never saw these patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
from grid import run_bundle
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAME = "prostate_cross_modality"
MODES = ("cam", "equivariant", "cross_modality")
MODALITIES = ("T2", "ADC")


def plane(path: Path, k: int, half: float) -> np.ndarray:
    """Slice k in the orientation that radiologists look at, the middle ``half`` mm to each side."""
    image = nib.as_closest_canonical(nib.load(path))
    values = np.asarray(image.dataobj, dtype=float)[..., k]
    keep = [slice(max(0, int(n / 2 - half / step)), int(n / 2 + half / step)) for n, step in
            zip(values.shape, image.header.get_zooms(), strict=False)]  # fmt: skip
    return np.flip(values[keep[0], keep[1]].T, (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs") / NAME, help="with <mode>_s<seed>")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("data/PROSTATE_GENERATED"))
    parser.add_argument("--case", default=None, help="default: the first test case")
    parser.add_argument("--out", type=Path, default=Path("docs/images/prostate-cams.png"))
    options = parser.parse_args()
    folders = {}
    for mode in MODES:
        run = (options.runs / f"{mode}_s{options.seed}").resolve()
        folders[mode] = run.with_name(f"{run.name}_picture") / "evaluation"
        settings = {
            "dataset_dir": options.data.resolve(),
            "mode": mode,
            "validation": 0,
            "output_dir": folders[mode].parent,
        }
        settings |= {"ckpt_path": run / "model.pt"}
        if not folders[mode].is_dir():
            run_bundle(mode, "evaluating", ("cpu.yaml",), settings, 1, NAME)
    case = options.case or sorted((folders[MODES[0]] / "predictions").glob("*.nii.gz"))[0].name.removesuffix(".nii.gz")
    label = options.data / "labels" / f"{case}.nii.gz"
    mask = np.asarray(nib.as_closest_canonical(nib.load(label)).dataobj) > 0
    shown = np.flatnonzero(mask.any((0, 1)))
    slices = [int(shown[int(len(shown) * part)]) for part in (0.2, 0.5, 0.8)]
    columns = 2 + 2 * len(MODES)
    figure, axes = plt.subplots(3, columns, figsize=(1.5 * columns, 4.9))
    for row, k in zip(axes, slices, strict=True):
        truth = plane(label, k, 55) > 0
        images = {m: plane(options.data / "images" / f"{case}_{m}.nii.gz", k, 55) for m in MODALITIES}
        for axis, modality in zip(row, MODALITIES, strict=False):
            axis.imshow(images[modality], cmap="gray")
            axis.contour(truth, [0.5], colors="#009e73", linewidths=1)
            axis.set_title(f"{modality}, reference" if k == slices[0] else "", fontsize=8)
        for number, (mode, modality) in enumerate((a, b) for a in MODES for b in MODALITIES):
            axis = row[2 + number]
            axis.imshow(images[modality], cmap="gray")
            values = plane(folders[mode] / "maps" / f"{case}_{modality}.nii.gz", k, 55)
            drawn = axis.imshow(values, cmap="inferno", vmin=0, vmax=1, alpha=0.35 + 0.6 * values)
            axis.contour(truth, [0.5], colors="#009e73", linewidths=0.8)
            axis.set_title(f"{mode}\n{modality}" if k == slices[0] else "", fontsize=8)
        row[0].set_ylabel(f"slice {k + 1}", fontsize=8)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.subplots_adjust(left=0.03, right=0.94, top=0.9, bottom=0.02, wspace=0.04, hspace=0.04)
    bar = figure.colorbar(drawn, cax=figure.add_axes([0.95, 0.2, 0.01, 0.5]))
    bar.ax.tick_params(labelsize=7)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    picture.quantize(128).save(options.out, optimize=True)
    print(f"{options.out}: case {case}, slices {slices}")


if __name__ == "__main__":
    main()
