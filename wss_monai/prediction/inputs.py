# SPDX-License-Identifier: Apache-2.0
"""The volumes among files and folders, those of several modalities put together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wss_monai.io.atomic_files import PART
from wss_monai.io.volumes import SUFFIXES, without_suffix

__all__ = ["Case", "endings_of", "find_cases"]

SEGMENTATION = ".seg.nrrd"
DICOM = b"DICM"


@dataclass(frozen=True)
class Case:
    """A volume to predict.

    Attributes:
        name: path of its files below the folder that was given, without their ending, such as ``ward_3/anna``; masks
            are named after it.
        files: one a modality, in the order of the network's channels; a folder is a DICOM series.
        fault: why it cannot be predicted; empty: it can.
    """

    name: str
    files: tuple[str, ...]
    fault: str = ""

    @property
    def shown(self) -> str:
        """Its files, for messages and tables."""
        return " + ".join(self.files)


def endings_of(modalities: Sequence[str], channels: int, given: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Give how the names of the files of each channel may end, before the ending of their format.

    Args:
        modalities: their names, where the run knows them.
        channels: of the network.
        given: the user's own endings, one a channel; they replace all others.

    Returns:
        For each channel ``_NAME`` of the modality and nnU-Net's ``_0000``, in lower case.

    Raises:
        ValueError: another number of endings than channels.
    """
    if given and len(given) != channels:
        raise ValueError(f"--endings: the run has {channels} channels, so give {channels} endings, got {list(given)}")
    if given:
        return [(ending.lower(),) for ending in given]
    names = [str(name).lower() for name in modalities] if len(modalities) == channels else [""] * channels
    return [(*((f"_{name}",) if name else ()), f"_{number:04d}") for number, name in enumerate(names)]


def find_cases(
    paths: Sequence[str | os.PathLike[str]], endings: Sequence[Sequence[str]] = ((),)
) -> tuple[list[Case], list[str]]:
    """Find the volumes to predict.

    Args:
        paths: volume files, folders that hold one DICOM series, and folders in which, and in whose sub-folders, all
            volumes are taken.
        endings: of ``endings_of``; with one channel every volume is a case.

    Returns:
        The cases, and what was left out: segmentations of 3D Slicer.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: there is no volume at all.
    """
    cases: list[Case] = []
    left: list[str] = []
    for path in (Path(path) for path in paths):
        if not path.exists():
            raise FileNotFoundError(f"--input: there is no file or folder '{path}'")
        if path.is_dir() and not _is_series(path):
            found = list(_volumes(path, path, left))
        elif len(endings) > 1:
            beside = list(_volumes(path.parent, path.parent, [], deep=False))
            own = _split(path.parent, without_suffix(path.name), endings)
            found = [(name, file) for name, file in beside if own and _split(path.parent, name, endings)[:1] == own[:1]]
            found = found or [(without_suffix(path.name), str(path))]
        else:
            found = [(without_suffix(path.name), str(path))]
        cases += _grouped(path, found, endings) if len(endings) > 1 else [Case(n, (f,)) for n, f in found]
    if not cases:
        shown = ", ".join(str(path) for path in paths)
        raise ValueError(f"--input: no volume in {shown}; files end with {', '.join(SUFFIXES)}, or are DICOM series")
    return list(dict.fromkeys(cases)), left


def _volumes(
    folder: Path, base: Path, left: list[str], deep: bool = True, above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Name below ``base`` and path of each volume of a folder, DICOM series as folders; links that lead back end."""
    real = os.path.realpath(folder)
    if real in above:
        return
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    series = _is_series(folder) if deep else False
    if series:
        name = folder.relative_to(base).as_posix()
        yield (folder.name if name == "." else name), str(folder)
    for entry in entries:
        lower = entry.name.lower()
        if entry.name.startswith((".", PART)):
            continue
        if entry.is_dir():
            path = Path(entry.path)
            if deep:
                yield from _volumes(path, base, left, above=above | {real})
            elif _is_series(path):
                yield entry.name, entry.path
        elif lower.endswith(SEGMENTATION):
            left.append(entry.path)
        elif lower.endswith(SUFFIXES) and not (lower.endswith(".dcm") and series):
            yield without_suffix(Path(entry.path).relative_to(base).as_posix()), entry.path


def _is_series(folder: Path) -> bool:
    """Whether DICOM files lie in a folder itself."""
    for entry in os.scandir(folder):
        lower = entry.name.lower()
        if not entry.is_file() or entry.name.startswith("."):
            continue
        if lower.endswith((".dcm", ".ima")):
            return True
        if "." not in entry.name:  # scanners often write names without an ending
            with open(entry.path, "rb") as file:
                if file.read(132)[128:] == DICOM:
                    return True
    return False


def _split(folder: Path, name: str, endings: Sequence[Sequence[str]]) -> tuple[str, int] | tuple[()]:
    """Case and channel of a file by its name; a file that is called like a modality alone is of its folder's case."""
    lower = name.lower()
    for channel, words in sorted(enumerate(endings), key=lambda item: -max(map(len, item[1]))):
        for word in sorted(words, key=len, reverse=True):
            if lower.endswith(word) and len(lower) > len(word) and not lower[: -len(word)].endswith("/"):
                return name[: -len(word)], channel
            own, _, last = name.rpartition("/")
            if last.lower() == word.lstrip("_"):
                return own or folder.name, channel
    return ()


def _grouped(path: Path, found: Sequence[tuple[str, str]], endings: Sequence[Sequence[str]]) -> list[Case]:
    """Put the files of a case together."""
    folder = path if path.is_dir() else path.parent
    known = " / ".join(" or ".join(words) for words in endings)
    cases: dict[str, dict[int, str]] = {}
    stray: list[Case] = []
    for name, file in found:
        split = _split(folder, name, endings)
        if not split:
            fault = f"its name ends with no modality: this run has {len(endings)}, whose files end with {known}"
            stray.append(Case(name, (file,), fault))
        elif split[1] in cases.setdefault(split[0], {}):
            other = cases[split[0]][split[1]]
            stray.append(Case(name, (file,), f"it and {other} are the same modality of the case '{split[0]}'"))
        else:
            cases[split[0]][split[1]] = file
    whole: list[Case] = []
    for name, files in cases.items():
        missing = [" or ".join(words) for channel, words in enumerate(endings) if channel not in files]
        fault = f"no file of the case '{name}' ends with {', '.join(missing)}" if missing else ""
        whole.append(Case(name, tuple(files[channel] for channel in sorted(files)), fault))
    return whole + stray
