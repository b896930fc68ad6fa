# SPDX-License-Identifier: Apache-2.0
"""Image and label files: what is read is what another reader reads, or is refused by the name of its file."""

from __future__ import annotations

import gzip
import json
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from fuzz.ground import TEXTS, Ground, damaged
from fuzz.trial import WRONG, Case

CASE = "p1_ED"
IMAGE, LABEL, SCRIBBLE = (f"{kind}/{CASE}.nii.gz" for kind in ("images", "labels", "scribbles"))
NAN, INF = float("nan"), float("inf")
HEADERS: dict[str, tuple[str, int, tuple[Any, ...]]] = {
    "sizeof_hdr 540": ("<i", 0, (540,)),
    "another magic": ("4s", 344, (b"xxx\0",)),
    "dim[0] 0": ("<h", 40, (0,)),
    "dim[0] 9": ("<h", 40, (9,)),
    "dim[1] -5": ("<h", 42, (-5,)),
    "dim[1] too large": ("<h", 42, (37,)),
    "30000 voxels along each axis": ("<3h", 42, (30000,) * 3),
    "datatype 0": ("<h", 70, (0,)),
    "datatype 9999": ("<h", 70, (9999,)),
    "datatype 1": ("<hh", 70, (1, 1)),
    "voxels of NaN mm": ("<3f", 80, (NAN,) * 3),
    "voxels of 1e30 mm": ("<3f", 80, (1e30,) * 3),
    "slope 1e38": ("<ff", 112, (1e38, 0)),
    "intercept NaN": ("<ff", 112, (1, NAN)),
    "voxels at 1e9": ("<f", 108, (1e9,)),
    "voxels at -352": ("<f", 108, (-352,)),
    "voxels at NaN": ("<f", 108, (NAN,)),
}
"""What makes a header of no use: format, offset and values of the change."""
POSES: dict[str, tuple[str, int, tuple[Any, ...]]] = {
    "sform of zeros": ("<12f", 280, (0.0,) * 12),
    "sform of NaN": ("<12f", 280, (NAN,) * 12),
    "sform of infinity": ("<12f", 280, (INF,) * 12),
    "singular sform": ("<12f", 280, (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0)),
}
"""What leaves the qform, which is taken."""
META = {
    "NDims": "3",
    "DimSize": "8 8 4",
    "ElementSpacing": "1 2 5",
    "ElementType": "MET_SHORT",
    "ElementByteOrderMSB": "False",
    "ElementDataFile": "LOCAL",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "8 8 4",
    "space directions": "(1,0,0) (0,2,0) (0,0,5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(0,0,0)",
}
WORDS = (
    "", "0", "-1", "1", "2", "99", "16", "8 8", "8 8 4 1", "0 0 0", "-1 8 4", "nan nan nan", "inf 1 1",
    "1e30 1e30 1e30", "100000 100000 100000", "2000 2000 2000", "MET_FOO", "MET_FLOAT", "float", "uchar", "block",
    "nowhere.raw", "/dev/zero", "../../../../etc/passwd", "LOCAL", "%03d.raw 1 9 1", "True", "gzip", "hex", "ascii",
    "(0,0,0) (0,0,0) (0,0,0)", "(1,0,0) (1,0,0) (0,0,5)", "(nan,0,0) (0,1,0) (0,0,1)", "none (1,0,0) (0,1,0)",
    "list domain domain", "left-anterior-superior", "x" * 5000, "9" * 400,
)  # fmt: skip
"""Values that a field of a text header is given."""


def nifti(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Headers and voxels of no use, labels that are none, then bytes changed at random, packed and unpacked."""
    packed = (ground.data / IMAGE).read_bytes()
    plain = gzip.decompress(packed)
    for text in (*TEXTS, packed[: len(packed) // 2], packed[:10], packed[:-4], gzip.compress(b"hello" * 99)):
        yield _case(ground, f"image: {text[:20]!r}", IMAGE, text, "refuse")
    for name, (form, at, values) in {**HEADERS, **POSES}.items():
        content = bytearray(plain)
        struct.pack_into(form, content, at, *values)
        yield _case(ground, f"image: {name}", IMAGE, gzip.compress(content), "any" if name in POSES else "refuse")
    for name, array in _arrays(plain):
        yield _case(ground, f"image: {name}", IMAGE, written(array, plain), "refuse")
    labels = np.asarray(opened(gzip.decompress((ground.data / LABEL).read_bytes())).dataobj)
    for name, array in _labels(labels):
        yield _case(ground, f"label: {name}", LABEL, written(array, plain), "refuse")
    for name, affine in _poses(opened(plain).affine):
        yield _case(ground, f"label: {name}", LABEL, written(labels, plain, affine), "refuse")
    yield _case(ground, "scribbles: 4D", SCRIBBLE, written(np.zeros((36, 34, 4, 2), np.uint8), plain), "refuse")
    while True:
        file = draw.choice((IMAGE, IMAGE, LABEL, SCRIBBLE))
        packed = (ground.data / file).read_bytes()
        if draw.random() < 0.4:
            told, content = damaged(packed, draw)
            yield _case(ground, f"{file}: {told}", file, content, "any")
            continue
        flipped = bytearray(gzip.decompress(packed))
        places = [draw.randrange(348) for _ in range(draw.randint(1, 5))]
        for at in places:
            flipped[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        yield _case(ground, f"{file}: header bytes {places}", file, gzip.compress(flipped), "any")


def itk(ground: Ground, draw: random.Random) -> Iterator[Case]:
    """Text headers of .mha, .mhd and .nrrd with one field after the other changed, then damage at random."""
    voxels = np.random.RandomState(0).randint(0, 99, 256).astype("<i2").tobytes()
    yield _case(ground, "a.mha", "a.mha", _meta(META) + voxels, "accept")
    yield _case(ground, "a.nrrd", "a.nrrd", _nrrd(NRRD) + voxels, "accept")
    formats: list[tuple[str, dict[str, str], Callable[[dict[str, str]], bytes]]] = [
        ("a.mha", META, _meta),
        ("a.nrrd", NRRD, _nrrd),
    ]
    for name, fields, make in formats:
        for text in (*TEXTS, make(fields), make(fields) + voxels[:100]):
            yield _case(ground, f"{name}: {text[:20]!r}", name, text, "refuse")
    while True:
        name, fields, make = draw.choice(formats)
        if draw.random() < 0.3:
            told, content = damaged(make(fields) + voxels, draw)
            yield _case(ground, f"{name}: {told}", name, content, "any")
            continue
        changed, key = dict(fields), draw.choice(list(fields))
        if draw.random() < 0.1:
            del changed[key]
            yield _case(ground, f"{name}: without {key}", name, make(changed) + voxels, "any")
            continue
        changed[key] = draw.choice(WORDS)
        yield _case(ground, f"{name}: {key} = {changed[key][:40]!r}", name, make(changed) + voxels, "any")


def opened(plain: bytes) -> Any:
    """Open an unpacked NIfTI file."""
    return nib.Nifti1Image.from_bytes(plain)


def written(array: np.ndarray, plain: bytes, affine: np.ndarray | None = None) -> bytes:
    """Pack an array as a NIfTI file, on the grid of another one unless an affine is given."""
    image = nib.Nifti1Image(array, opened(plain).affine if affine is None else affine, dtype=array.dtype)
    return gzip.compress(image.to_bytes())


def _arrays(plain: bytes) -> Iterator[tuple[str, np.ndarray]]:
    image = np.asarray(opened(plain).dataobj).astype(np.float32)
    one = image.copy()
    one[5, 5, 1] = NAN
    yield "a NaN", one
    yield "all infinite", np.full_like(image, INF)
    yield "constant", np.ones_like(image)
    yield "1e300", image.astype(np.float64) * 1e300
    yield "complex", image * (1 + 2j)
    yield "5 frames", np.repeat(image[..., None], 5, axis=-1)
    yield "seven axes", image[..., None, None, None, None].repeat(2, axis=-1)
    colours = np.random.RandomState(0).randint(0, 255, (*image.shape, 3)).astype(np.uint8)
    yield "colours", colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(image.shape)


def _labels(labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    drawn = labels == 1
    yield "2^63", np.where(drawn, np.uint64(2**63), 0).astype(np.uint64)
    yield "2^53 + 1", np.where(drawn, np.uint64(2**53 + 1), 0).astype(np.uint64)
    yield "2^24 + 1", np.where(drawn, 2**24 + 1, 0).astype(np.int32)
    yield "halves", labels * np.float32(0.5)
    yield "negative", -labels.astype(np.int16)
    yield "7", np.where(drawn, 7, labels).astype(np.uint8)
    yield "NaN", np.where(drawn, NAN, labels).astype(np.float32)
    yield "complex", labels * np.complex64(1j)
    yield "another shape", labels[:-1]


def _poses(affine: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    shifted, mirrored, wider = affine.copy(), affine @ np.diag([-1.0, 1, 1, 1]), affine.copy()
    shifted[:3, 3] += affine[:3, 2]
    wider[:3, 0] *= 1.009
    yield "one slice off", shifted
    yield "mirrored", mirrored
    yield "voxels wider by .9 %", wider


def _meta(fields: dict[str, str]) -> bytes:
    return "".join(f"{key} = {value}\n" for key, value in {"ObjectType": "Image", **fields}.items()).encode()


def _nrrd(fields: dict[str, str]) -> bytes:
    return ("NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n").encode()


def _case(ground: Ground, told: str, file: str, content: bytes, right: str) -> Case:
    """A data set of which one file is another, or whose case has another image."""
    described = json.loads((ground.data / "dataset.json").read_text())
    if "/" not in file:
        entry = next(each for each in described["training"] if each["case"] == CASE)
        entry.update(image=file)
        for key in ("label", "weak_label"):
            del entry[key]
    data = ground.dataset(described, {file: content})
    return Case(told, agreed(data, data / file), right, (CASE, file), inputs=data)


def agreed(data: Path, changed: Path) -> Callable[[], int]:
    """Give a call: 0 where `check`, the reader of training and another reader agree; 2 where the case is refused.

    3, silent, where `check` lets pass what is refused later, or another reader has other voxels or millilitres.
    """

    def call() -> int:
        from wss_monai.data.checks.dataset import check_dataset
        from wss_monai.data.datalist import list_cases
        from wss_monai.data.schema import read_dataset
        from wss_monai.io.faults import one_line
        from wss_monai.transforms import LoadCased

        errors = [each for each in check_dataset(data).problems if each.severity == "error"]
        case = next(each for each in list_cases(read_dataset(data)) if each["case"] == CASE)
        try:
            read = LoadCased()(case)
        except (ValueError, OSError) as error:
            print(f"Error: {one_line(error)}", file=sys.stderr)
            if not errors:
                print(f"check overlooks: {error}")
                return WRONG
            return 2
        if errors:
            print(f"Error: {CASE}: {errors[0].problem}", file=sys.stderr)
            return 2
        image = read["image"]
        if not np.isfinite(image.numpy()).all() or not np.isfinite(image.affine.numpy()).all():
            print("what was read is not finite")
            return WRONG
        key = {"labels": "label", "scribbles": "weak_label"}.get(changed.parent.name, "image")
        return _compare(read[key], changed, key == "image")

    return call


def _compare(ours: Any, path: Path, is_image: bool) -> int:
    """Compare with what SimpleITK alone reads: voxels, and the volume of one; 0 where it reads nothing.

    It takes a slope near 0 for none at all.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return 0
    theirs = np.asarray(sitk.GetArrayFromImage(image)).T.reshape(ours.shape[1:])
    scaled = image.HasMetaDataKey("scl_slope") and 0 < abs(float(image.GetMetaData("scl_slope"))) < 1e-30
    if (
        is_image
        and not scaled
        and not np.allclose(ours[0].numpy(), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    ):
        print(f"other voxels than SimpleITK's: {ours[0].numpy().ravel()[:4]}, {theirs.ravel()[:4]}")
        return WRONG
    volume, other = abs(np.linalg.det(ours.affine.numpy()[:3, :3])), float(np.prod(image.GetSpacing()))
    if abs(volume / other - 1) > 0.01:
        print(f"a voxel of {volume:.4g} mm3, by SimpleITK {other:.4g}")
        return WRONG
    return 0
