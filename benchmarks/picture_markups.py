# SPDX-License-Identifier: Apache-2.0
"""The picture of docs/how-to/viewers.md: points of 3D Slicer, the map made of them, and a prediction read back.

Everything is generated: hearts of `synthesize cardiac`; a point in each class of each third slice, and four in the
background, written as Slicer writes them; a short training, whose prediction goes to a .seg.nrrd and is read again.
Two minutes on two CPU cores:

    python benchmarks/picture_markups.py --work runs/markups --out docs/images/markups.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import run
from scipy import ndimage

from wss_monai.__main__ import main as command
from wss_monai.data import read_dataset
from wss_monai.functional.weak.box_maps import split_index, visible_index
from wss_monai.io.labels import read_label
from wss_monai.io.volumes import read_volume
from wss_monai.report.panels import case_panel

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"mode": "partial", "iterations": 400, "validation": 0, "fold": "all", "quiet": True, "seed": 0}
SHOWN = "patient001_ED"
LABELS = '{"0": "background", "1": "RV", "2": "Myo", "3": "LV"}'


def position(affine: np.ndarray, voxel: np.ndarray) -> list[float]:
    """LPS, mm."""
    x, y, z = (affine @ [*voxel, 1])[:3]
    return [-x, -y, z]


def write(path: Path, node: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    node = {"coordinateSystem": "LPS", "coordinateUnits": "mm", **node}
    path.write_text(json.dumps({"@schema": f"{schema}markups-schema-v1.0.3.json#", "markups": [node]}, indent=1))


def mark(label: np.ndarray, affine: np.ndarray, names: list[str], folder: Path, boxes: Path) -> None:
    """Points in the middle of each class, and the boxes of the classes in the middle slice."""
    R = np.random.RandomState(0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for k in range(1, label.shape[2], 3):
        for value, name in enumerate(names):
            inside = label[..., k] == value
            if value and inside.any():
                depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
                found[name].append(np.array([*np.unravel_index(depth.argmax(), depth.shape), k]))
            elif not value:
                near = np.argwhere(ndimage.binary_dilation(label[..., k] > 0, iterations=14) & inside)
                found[name] += [np.array([*near[n], k]) for n in R.randint(len(near), size=4)] if len(near) else []
    for name, voxels in found.items():
        listed = [{"label": f"{name}-{n + 1}", "position": position(affine, v)} for n, v in enumerate(voxels)]
        write(folder / f"{name}.mrk.json", {"type": "Fiducial", "controlPoints": listed})
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    turned = np.diag([-1, -1, 1]) @ axes
    middle = label.shape[2] // 2
    for value, name in enumerate(names[1:], start=1):
        where = np.argwhere(label[..., middle] == value)
        if len(where):
            low, high = where.min(0), where.max(0)
            edges = np.linalg.norm(affine[:3, :3], axis=0) * [*(high - low + 1), 1]
            centre = position(affine, np.array([*(low + high) / 2, middle]))
            roi = {"roiType": "Box", "center": centre, "size": edges.tolist(), "orientation": turned.ravel().tolist()}
            write(boxes / f"{name}.mrk.json", {"type": "ROI", **roi})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/markups"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/markups.png"))
    options = parser.parse_args()
    work = options.work
    command(["synthesize", "cardiac", "--out", str(work / "hearts"), "--patients", "10", "--seed", "0"])
    dataset = read_dataset(work / "hearts")
    for case in dataset.training + dataset.test:
        file = nib.load(dataset.file_of(case, "label"))
        for kind in ("slicer", "boxes"):
            target = work / kind / case["case"] / "image.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.load(dataset.file_of(case, "image")), target)
        folders = work / "slicer" / case["case"], work / "boxes" / case["case"]
        mark(np.asarray(file.dataobj), file.affine, dataset.class_names, *folders)
    for kind, out in (("slicer", "points"), ("boxes", "box")):
        patterns = [r"(?P<patient>\w+?)_(?P<phase>E.)/image\.nii\.gz", r"(?P<patient>\w+?)_(?P<phase>E.)/.*\.mrk\.json"]
        words = ["--source", str(work / kind), "--out", str(work / out), "--labels", LABELS, "--radius", "3"]
        command(["prepare", "markups", *words, "--image", patterns[0], "--markups", patterns[1]])
    configs = ROOT / "bundles" / "acdc_logbarrier" / "configs"
    files = [str(configs / name) for name in ("train.yaml", "cpu.yaml")]
    folders = {"dataset_dir": str(work / "points"), "output_dir": str(work / "run"), "overwrite": True}
    run("training", config_file=files, bundle_root=str(configs.parent), **folders, **SETTINGS)
    image = work / "slicer" / SHOWN / "image.nii.gz"
    words = ["--run", str(work / "run"), "--input", str(image), "--out", str(work / "back"), "--overwrite"]
    command(["predict", *words, "--format", "nrrd", "--keep-largest", "yes"])
    volume = read_volume(image)
    names = dataset.class_names
    back = read_label(work / "back" / "image.seg.nrrd", volume[None], segments={n: k for k, n in enumerate(names)})
    content = json.loads((work / "box" / "dataset.json").read_text())
    case = next(case for case in content["training"] if case["case"] == SHOWN)
    meant = case["weak_labels"].get("values", {})
    sets = [[names.index(n) for n in several] for several in meant.values() if isinstance(several, list)]
    maps = {
        kind: np.asarray(nib.load(work / kind / "weak_labels" / f"{SHOWN}.nii.gz").dataobj)
        for kind in ("points", "box")
    }
    boxes = visible_index(split_index(maps["box"], sets, len(names)))
    shown = {"points, 3 mm around each": maps["points"], "boxes": boxes, "predicted, from .seg.nrrd": back[0].numpy()}
    spacing = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0).tolist()
    middle = volume.shape[2] // 2
    drawn = [k for k in range(volume.shape[2]) if (maps["points"][..., k] != 255).any()]
    near = min(drawn, key=lambda k: abs(k - middle))
    panel = case_panel(
        volume.numpy(), shown, spacing, names, affine=np.asarray(volume.affine), slices=sorted({near, middle})
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    panel.thumbnail((1400, 1400))
    panel.save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    main()
