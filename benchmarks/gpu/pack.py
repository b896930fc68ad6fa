# SPDX-License-Identifier: Apache-2.0
"""Pack what a bare machine with torch lacks: wheels, a data set with images of 8 bits, and generated data sets.

    benchmarks/gpu.sh --pack --data data/ACDC --python 3.12

Volumes keep their own grid; images become whole numbers of 0 to 255 (percentiles scale them again before a network sees
them), label maps stay as they are. Without --data the kit has no Dice part.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from common import ROOT
from phantoms import MAKERS, phantom

PACKAGES = ("monai", "pytorch-ignite", "nibabel", "fire", "termcolor")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
IMAGE, MAPS = "image", ("label", "weak_label")


def download(packages: list[str], python: str, out: Path) -> None:
    """Wheels of the tested versions for that Python, without what they need."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--dest", str(out)]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*words, *packages, "-c", str(ROOT / "constraints.txt")], check=True)


def eight_bits(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The image with its values scaled to 0..255."""
    values = np.asarray(image.dataobj, np.float32)
    low, high = float(values.min()), float(values.max())
    scaled = np.round((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    out = nib.Nifti1Image(scaled, image.affine)
    out.header.set_zooms(image.header.get_zooms())
    return out


def files_of(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind of map, path) of all volumes that a dataset.json names."""
    for case in [*content.get("training", []), *content.get("test", [])]:
        for key in (IMAGE, *MAPS):
            if key in case:
                paths = case[key] if isinstance(case[key], list) else [case[key]]
                yield from ((key, path) for path in paths)


def small_copy(source: Path, out: Path) -> None:
    """A data set as uncompressed NIfTI files, images in 8 bits."""
    content = json.loads((source / "dataset.json").read_text())
    out.mkdir(parents=True)
    for key, path in sorted(set(files_of(content))):
        if not path.endswith((".nii", ".nii.gz")):
            raise ValueError(f"{source / path}: a kit packs NIfTI files alone; prepare the data set as NIfTI.")
        volume = nib.load(source / path)
        target = out / path.removesuffix(".gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        if key != IMAGE:
            volume = nib.Nifti1Image(np.asarray(volume.dataobj).astype(np.uint8), volume.affine)
        nib.save(eight_bits(volume) if key == IMAGE else volume, target)
    (out / "dataset.json").write_text(json.dumps(_without_gz(content)))


def _without_gz(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_gz(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_gz(item) for item in value]
    return value.removesuffix(".gz") if isinstance(value, str) and value.endswith(".nii.gz") else value


def archive(folder: Path, out: Path) -> None:
    """A folder as .tar.xz; files of one kind lie together, so that they compress."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, arcname=folder.name)
    out.write_bytes(lzma.compress(buffer.getvalue(), preset=6))


def commit() -> str:
    """The commit of the working tree, and whether it has changes."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8")
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kit", type=Path, default=ROOT / "runs" / "gpu_kit")
    parser.add_argument("--data", type=Path, help="a data set like ACDC with dense labels, for the Dice part")
    parser.add_argument("--split", type=Path, default=ROOT / "benchmarks" / "splits" / "acdc40.json")
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU (default: %(default)s)")
    parser.add_argument("--packages", nargs="*", default=list(PACKAGES), help="wheels to take (default: %(default)s)")
    parser.add_argument("--no-wheels", action="store_true", help="the machine has all packages")
    options = parser.parse_args()
    kit = options.kit
    shutil.rmtree(kit, ignore_errors=True)
    (kit / "wheels").mkdir(parents=True)
    if not options.no_wheels:
        download(options.packages, options.python, kit / "wheels")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        for kind in MAKERS:
            phantom(kind, base / "phantoms")
        archive(base / "phantoms", kit / "phantoms.tar.xz")
        if options.data is not None:
            small_copy(options.data.resolve(), base / "data")
            shutil.copy(options.split, base / "data" / "split.json")
            archive(base / "data", kit / "data.tar.xz")
    (kit / "commit.txt").write_text(commit() + "\n")
    total = 0
    for path in sorted(path for path in kit.rglob("*") if path.is_file()):
        total += path.stat().st_size
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path.relative_to(kit)}")
    print(f"{total / 2**20:8.2f} MiB  in all, in {kit}")


if __name__ == "__main__":
    main()
