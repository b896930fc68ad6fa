# SPDX-License-Identifier: Apache-2.0
"""Read the snapshots of a run: the picture of each case and panel, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from wss_monai.io.json_files import parse_json

__all__ = ["Sheet", "read_sheets"]

GAP = 4


@dataclass(frozen=True)
class Sheet:
    """One snapshot, ``snapshots/epoch_<number>.png``.

    Attributes:
        path: the file.
        epoch: counted from 1.
        cases: case -> ``slices`` (indices) and ``panels`` (title -> one box (left, top, right, bottom) a slice).
    """

    path: Path
    epoch: int
    cases: dict[str, dict[str, Any]]

    def titles(self, case: str) -> list[str]:
        """Give the panels of a case."""
        return list(self.cases[case]["panels"])

    def picture(self, case: str, title: str) -> Image.Image:
        """Cut one panel of a case out of the sheet: its slices below each other, RGB."""
        boxes = self.cases[case]["panels"][title]
        with Image.open(self.path) as file:
            sheet = file.convert("RGB")
        parts = [sheet.crop(tuple(box)) for box in boxes]
        height = sum(part.height + GAP for part in parts) - GAP
        picture = Image.new("RGB", (max(part.width for part in parts), height), "white")
        top = 0
        for part in parts:
            picture.paste(part, (0, top))
            top += part.height + GAP
        return picture


def read_sheets(folder: Path) -> dict[int, Sheet]:
    """Find the snapshots of a run.

    Args:
        folder: the run's folder.

    Returns:
        epoch -> snapshot, by rising epoch.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one does not say what it shows.
    """
    paths = sorted((folder / "snapshots").glob("epoch_*.png"))
    if not paths:
        raise FileNotFoundError(
            f"{folder / 'snapshots'} holds no epoch_*.png: snapshots are drawn at each validation; train with "
            "--validation 1 or more, and a --val_interval within --train#trainer#max_epochs."
        )
    sheets = [_read(path) for path in paths]
    return {sheet.epoch: sheet for sheet in sorted(sheets, key=lambda sheet: sheet.epoch)}


def _read(path: Path) -> Sheet:
    try:
        with Image.open(path) as file:
            about = parse_json(getattr(file, "text", {})["panels"])
        cases = {str(case): found for case, found in about["cases"].items() if found["panels"]}
        return Sheet(path, int(about["epoch"]), cases)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not say where its panels are; it may be from an older version: train the run again."
        ) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a picture ({error}).") from error
