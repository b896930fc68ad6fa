# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the network does on a few held-out cases while it trains."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy.spatial import cKDTree
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from wss_monai.evaluation.case_outputs import as_array
from wss_monai.functional import UNLABELLED
from wss_monai.io.atomic_files import naming, replacing
from wss_monai.io.grids import voxel_edges
from wss_monai.io.processes import first_process

GAP, LINE = 10, 20
PREDICTION = "prediction"


class Snapshots:
    """Panels image | weak label | prediction | reference of the first cases of an evaluator, one a patient.

    Writes ``snapshots/epoch_<number>.png`` and image panels for TensorBoard in ``tensorboard/snapshots`` (a folder of
    its own, since TensorBoard follows one file a folder). Shown are a middle and an apical slice around what is
    labelled, the same in all epochs, or the whole slice where there is but one; the reference only where there is a
    dense label. The evaluator's own batches and outputs are drawn, so that nothing is computed twice, and epochs
    without a snapshot cost nothing. Process 0 alone draws. The PNG's text ``panels`` says as JSON what is where::

        {"epoch": 5, "cases": {case: {"patient": ..., "slices": [...], "panels": {title: [[l, t, r, b], ...]}}}}

    Args:
        output_dir: the run's folder.
        evaluator: not decollated: its batch holds ``image`` and ``weak_label``, maybe ``label`` (all (B, 1, *spatial)),
            ``case`` and ``patient``; its output ``pred`` logits (B, K, *spatial).
        class_names: background first.
        interval: epochs between two snapshots; those without validation have none.
        slice_axis: spatial axis across the slices of a volume.
        cases: how many cases.
        panel: what draws the slices of one case, as ``wss_monai.report.case_panel`` does, and its ``info``.
        tile: longer side of a slice in pixels; by default 160, and 256 where a case has one slice.

    Raises:
        ValueError: interval or cases below 1.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        evaluator: Engine,
        class_names: Sequence[str],
        interval: int,
        slice_axis: int = 2,
        cases: int = 2,
        *,
        panel: Callable[..., Image.Image],
        tile: int | None = None,
    ) -> None:
        if interval < 1 or cases < 1:
            raise ValueError(f"interval and cases must be at least 1, got {interval} and {cases}.")
        self.folder = Path(output_dir)
        self.evaluator = evaluator
        self.class_names = list(class_names)
        self.interval = interval
        self.slice_axis = slice_axis
        self.cases = cases
        self.panel = panel
        self.tile = tile
        self.panels: dict[str, Image.Image] = {}
        self.patients: dict[str, str] = {}
        self.slices: dict[str, list[int]] = {}
        self.writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Follow the evaluator while the trainer ``engine`` runs."""
        if not first_process():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._close)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._draw)
        self.evaluator.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        """Remove the pictures of epochs that are still to come, of a former run in this folder."""
        for path in (self.folder / "snapshots").glob("epoch_*.png"):
            number = path.stem.removeprefix("epoch_")
            if number.isdigit() and int(number) > engine.state.epoch:
                path.unlink()

    def _draw(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.epoch % self.interval or len(self.panels) >= self.cases:
            return
        batch, pred = state.batch, state.output["pred"]
        for number in range(len(pred)):
            name = str(batch["case"][number]) if "case" in batch else f"case {state.iteration}.{number + 1}"
            patient = str(batch["patient"][number]) if "patient" in batch else name
            if len(self.panels) < self.cases and patient not in self.patients.values():
                self.patients[name] = patient
                self.panels[name] = self._panel(name, batch, pred[number], number)

    def _panel(self, name: str, batch: Mapping[str, Any], logits: Tensor, number: int) -> Image.Image:
        weak = as_array(batch["weak_label"][number, 0])
        maps = {"weak label": weak, PREDICTION: as_array(logits.argmax(0))}
        marked = [weak]
        if "label" in batch:
            label = as_array(batch["label"][number, 0])
            marked.append(label)
            if (label != UNLABELLED).any():
                maps["reference"] = label
        if name not in self.slices:
            self.slices[name] = middle_and_apex(marked, self.slice_axis)
        affine = affine_of_item(batch["image"], number)
        dimensions = weak.ndim
        flat = dimensions == 2 or weak.shape[self.slice_axis] == 1
        return self.panel(
            as_array(batch["image"][number, 0]),
            maps,
            voxel_edges(affine, dimensions),
            self.class_names,
            affine=affine if dimensions == 3 else None,
            slice_axis=self.slice_axis if dimensions == 3 else 2,
            slices=self.slices[name],
            tile=self.tile or (256 if flat else 160),
            around=[] if flat else [title for title in maps if title != PREDICTION],
        )

    def _write(self, engine: Engine) -> None:
        if not self.panels:
            return
        epoch = engine.state.epoch
        folder = self.folder / "snapshots"
        folder.mkdir(parents=True, exist_ok=True)
        sheet, tops = _sheet({f"{name}, epoch {epoch}": panel for name, panel in self.panels.items()})
        cases = {
            name: {
                "patient": self.patients[name],
                "slices": self.slices[name],
                "panels": _moved(panel.info.get("boxes", {}), top),
            }
            for (name, panel), top in zip(self.panels.items(), tops, strict=True)
        }
        text = PngInfo()
        text.add_itxt("panels", json.dumps({"epoch": epoch, "cases": cases}))
        colours = next(iter(self.panels.values())).info.get("colours")
        with replacing(folder / f"epoch_{epoch:04d}.png") as temporary:
            _reduced(sheet, colours).save(temporary, pnginfo=text)
        events = self.folder / "tensorboard" / "snapshots"
        with naming(events):
            if self.writer is None:
                self.writer = SummaryWriter(str(events), purge_step=epoch)
            for name, panel in self.panels.items():
                self.writer.add_image(name, np.asarray(panel), epoch, dataformats="HWC")
            self.writer.flush()
        self.panels, self.patients = {}, {}

    def _close(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def middle_and_apex(maps: Sequence[np.ndarray], slice_axis: int = 2) -> list[int]:
    """A slice in the middle of what the first map with foreground shows, and one at its smaller end.

    Args:
        maps: class-index maps (X, Y[, Z]); 255 is unlabelled.
        slice_axis: axis across the slices.
    """
    if maps[0].ndim == 2:
        return [0]
    plane = tuple(axis for axis in range(3) if axis != slice_axis)
    for index in maps:
        voxels = ((index > 0) & (index != UNLABELLED)).sum(axis=plane)
        shown = np.flatnonzero(voxels)
        if len(shown):
            break
    else:
        shown, voxels = np.arange(maps[0].shape[slice_axis]), np.ones(maps[0].shape[slice_axis])
    third = max(1, len(shown) // 3)
    if voxels[shown[:third]].sum() < voxels[shown[-third:]].sum():
        shown = shown[::-1]
    return list(dict.fromkeys([int(shown[len(shown) // 2]), int(shown[round(0.85 * (len(shown) - 1))])]))


def _sheet(panels: Mapping[str, Image.Image]) -> tuple[Image.Image, list[int]]:
    """The panels below each other, each under its title, and the line where each begins."""
    width = max(panel.width for panel in panels.values())
    height = sum(panel.height + LINE + GAP for panel in panels.values())
    sheet = Image.new("RGB", (width, height), "white")
    draw, top, tops = ImageDraw.Draw(sheet), 0, []
    for title, panel in panels.items():
        draw.text((0, top + LINE / 2), title, "black", ImageFont.load_default(13), "lm")
        tops.append(top + LINE)
        sheet.paste(panel, (0, tops[-1]))
        top += panel.height + LINE + GAP
    return sheet, tops


def _moved(boxes: Mapping[str, Sequence[Sequence[int]]], down: int) -> dict[str, list[list[int]]]:
    """Boxes (left, top, right, bottom) of a panel on its sheet."""
    return {
        title: [[left, top + down, right, bottom + down] for left, top, right, bottom in of_title]
        for title, of_title in boxes.items()
    }


def _reduced(sheet: Image.Image, colours: Sequence[tuple[int, int, int]] | None) -> Image.Image:
    """The sheet in 256 colours: in those given, so that epochs do not flicker, or in those that serve it best."""
    if not colours:
        return sheet.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    pixels = np.asarray(sheet)
    found, place = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    parts = np.stack([found >> 16, (found >> 8) & 255, found & 255], 1)
    nearest = cKDTree(np.array(colours)).query(parts)[1].astype(np.uint8)  # Pillow's own search is off by some levels
    small = Image.fromarray(nearest[place].reshape(pixels.shape[:2]))
    small.putpalette([part for colour in colours for part in colour])
    return small


def affine_of_item(image: Tensor, number: int) -> np.ndarray | None:
    """Voxel to RAS+ mm (4, 4) of an item of a batch; None where the batch carries none."""
    if not isinstance(image, MetaTensor):
        return None
    affine = image.affine[number] if image.affine.dim() == 3 else image.affine
    return np.asarray(affine.cpu(), dtype=float)
