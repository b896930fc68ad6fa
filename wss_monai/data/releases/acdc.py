# SPDX-License-Identifier: Apache-2.0
"""The official ACDC release (Bernard et al., IEEE TMI 2018, doi:10.1109/TMI.2018.2837502) as a data set of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wss_monai.data.releases.preparation import Entry, Preparation, opened, preparation, refuse_missing
from wss_monai.data.releases.volumes import copy_image, load_frame, load_scribble
from wss_monai.functional import UNLABELLED
from wss_monai.io.nifti_files import write_like

__all__ = ["Preparation", "prepare_acdc"]

LABELS = {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
_SOURCE = re.compile(r"(^|/)(Info\.cfg|patient\d+_frame\d+(_gt)?\.nii(\.gz)?)$")
_SCRIBBLE = re.compile(r"(^|/)(patient\d+_frame\d+)(_scribble)?\.nii(\.gz)?$")


def prepare_acdc(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    patients: Sequence[str] | None = None,
    scribbles: str | os.PathLike[str] | None = None,
) -> Preparation:
    """Convert the official release to a folder with `dataset.json`, images/, labels/ and, where given, scribbles/.

    Every patient folder needs an `Info.cfg` and its ED and ES frames. A patient whose files are missing, unreadable
    or contradict each other is skipped with a note, and so is one whose images are those of another patient. The
    result appears under `out` complete or not at all.

    Args:
        source: the release: a folder, a zip or a tar archive, with any folders above training/ and testing/.
        out: the folder to make.
        patients: convert these only; each must be there and sound.
        scribbles: folder or archive with patientXXX_frameYY[_scribble].nii.gz; values 0 to 3, and 4 or 255 for
            unlabelled.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: `source` or `scribbles` is missing.
        ValueError: an archive is unsafe or damaged, no patient is left, or a patient asked for cannot be converted.
    """
    for name, path in (("source", source), ("scribbles", scribbles)):
        if path is not None:
            advice = (
                "give the ACDC release as its organisers distribute it (data/README.md says how to get it), or the "
                "folder it was unpacked to"
            )
            refuse_missing(path, advice, name)
    with preparation(out) as done:
        folders = _patient_folders(opened(source, done.work / "source", _SOURCE), Path(source))
        drawn = {} if scribbles is None else _scribble_files(scribbles, done.work / "drawn")
        parts = done.convert(
            {name: "test" if _is_test(folder) else "training" for name, folder in folders.items()},
            lambda name: _convert(name, folders[name], drawn, done),
            patients,
        )
        unused = set(drawn) - {case["case"] for cases in parts.values() for case in cases}
        if unused and patients is None:
            done.notes.append(("scribbles", f"{len(unused)} of {len(drawn)} belong to no volume that was converted"))
        done.finish(_description(parts))
    return done


def _convert(patient: str, folder: Path, drawn: dict[str, Path], done: Preparation) -> list[Entry]:
    """Check all files of a patient, then write them; ValueError says why the patient cannot be converted."""
    info = _info(folder / "Info.cfg")
    frames = {f"{patient}_frame{info[phase]:02d}": phase for phase in ("ED", "ES")}
    if len(frames) < 2:
        raise ValueError(f"Info.cfg names frame {info['ED']} as ED and as ES")
    loaded = {name: load_frame(folder, name, not _is_test(folder) and name not in drawn) for name in frames}
    done.claim({name: array for name, (_, array, _) in loaded.items()})
    others = {_stem(path) for path in folder.glob("*_frame*.nii*")} - {n + s for n in frames for s in ("", "_gt")}
    if others:
        done.notes.append((patient, f"skipped {', '.join(sorted(others))}: neither ED nor ES in Info.cfg"))
    cases = []
    for name, phase in frames.items():
        image, _, label = loaded[name]
        case = {"case": name, "patient": patient, "group": info.get("Group"), "phase": phase}
        case |= {key.lower(): info[key] for key in ("Height", "Weight", "NbFrame") if key in info}
        case["image"] = copy_image(image, done.result / "images" / f"{name}.nii.gz")
        if label is None:
            done.notes.append((name, "has no mask (_gt); kept without 'label'"))
        else:
            case["label"] = write_like(label, image, done.result / "labels" / f"{name}.nii.gz")
        if name in drawn:
            try:
                scribble = load_scribble(drawn[name], name, image, label, done.notes)
            except ValueError as error:
                done.notes.append((name, f"scribble skipped: {error}"))
            else:
                case["weak_label"] = write_like(scribble, image, done.result / "scribbles" / f"{name}.nii.gz")
        cases.append(case)
    return cases


def _info(file: Path) -> dict[str, Any]:
    """Read `Info.cfg`: ED and ES as integers, the rest where it is there."""
    found = dict(re.findall(r"^\s*(\w+)\s*:\s*(\S.*?)\s*$", file.read_text(encoding="utf-8", errors="replace"), re.M))
    kinds = {"ED": int, "ES": int, "NbFrame": int, "Height": float, "Weight": float, "Group": str}
    try:
        info = {key: kind(found[key]) for key, kind in kinds.items() if key in found}
    except ValueError as error:
        raise ValueError(f"Info.cfg is not readable: {error}") from error
    if missing := {"ED", "ES"} - set(info):
        raise ValueError(f"Info.cfg does not say {sorted(missing)}")
    return info


def _description(parts: dict[str, list[Entry]]) -> dict[str, Any]:
    drawn = any("weak_label" in case for cases in parts.values() for case in cases)
    weak = {"kind": "scribble", "values": {**LABELS, str(UNLABELLED): "unlabelled"}, "undrawn_means_absent": True}
    return {
        "name": "ACDC",
        "description": "Short-axis cine MRI, end-diastolic and end-systolic volumes; made from the official release",
        "reference": "O. Bernard et al., IEEE TMI 37(11):2514-2525, 2018, doi:10.1109/TMI.2018.2837502",
        "modality": {"0": "MRI (cine bSSFP)"},
        "labels": LABELS,
        "slice_axis": 2,
        **({"weak_label": weak} if drawn else {}),
        **parts,
    }


def _patient_folders(root: Path, source: Path) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for file in sorted(root.rglob("Info.cfg")):
        folder = file.parent
        if not re.fullmatch(r"patient\d+", folder.name):
            continue
        if folder.name in folders:
            raise ValueError(
                f"'{source}' holds {folder.name} twice, in {folders[folder.name].parent} and {folder.parent}"
            )
        folders[folder.name] = folder
    if not folders:
        raise ValueError(
            f"'{source}' does not look like the ACDC release: it has no folder patientXXX with an Info.cfg"
        )
    return folders


def _scribble_files(source: str | os.PathLike[str], folder: Path) -> dict[str, Path]:
    """Find the scribbles of a source, unpacked to `folder` where it is an archive, by the case's name."""
    root = opened(source, folder, _SCRIBBLE)
    matches = ((_SCRIBBLE.search(path.as_posix()), path) for path in sorted(root.rglob("*.nii*")))
    files = {match.group(2): path for match, path in matches if match}
    if not files:
        raise ValueError(f"scribbles '{source}' has no file named patientXXX_frameYY[_scribble].nii.gz")
    return files


def _is_test(folder: Path) -> bool:
    return folder.parent.name.lower().startswith("test")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
