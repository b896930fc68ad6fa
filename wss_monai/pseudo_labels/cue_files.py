# SPDX-License-Identifier: Apache-2.0
"""A data set whose weak labels are cues: a map for every training case and the `dataset.json` that describes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from torch import Tensor
from tqdm import tqdm

from wss_monai.bundle.case_errors import raise_failures, reason_of
from wss_monai.data import DataSplit
from wss_monai.data.derived_dataset import carried, leads_outside, moved_case
from wss_monai.data.schema import class_names_of, write_dataset
from wss_monai.functional import UNLABELLED
from wss_monai.io.atomic_files import check_replaceable, check_writable
from wss_monai.io.nifti_files import save_image
from wss_monai.transforms import LoadCased

__all__ = ["CueWriter"]


class CueWriter:
    """Write cues for the training and validation cases of a run, on the grid of their images.

    The new `dataset.json` lists the run's training and validation patients under `training`, with the tags that the
    cues were made from, and its test patients under `test` without any weak label. No dense label is read, unless a
    training case is drawn densely (its tags are read off it, as in training) or the cues are scored.

    Args:
        data: the cases of the run.
        make: makes the cues (1, *spatial) of a prepared image and its tags.
        preprocessing: what is done to a case before: reads image and tags, keeps the slices.
        output_dir: where the maps and the `dataset.json` go.
        tags_key: key of the tags that ``make`` gets.
        score: compare the cues with the dense labels where there are any, for evaluation alone.
        made_with: how the cues were made, for `dataset.json`.
        kind: kind of the weak label.
        finish: what is done to the cues (1, *spatial) and their tags on the grid of the image's file; None: nothing.

    Raises:
        ValueError: an output folder that cannot be written, or that is the data set's own.
    """

    def __init__(
        self,
        data: DataSplit,
        make: Callable[[Tensor, Tensor], Tensor],
        preprocessing: Compose,
        output_dir: str | os.PathLike[str],
        tags_key: str = "slice_tags",
        score: bool = False,
        made_with: Mapping[str, Any] | None = None,
        kind: str = "cam",
        finish: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.data = data
        self.make = make
        self.preprocessing = preprocessing
        self.invert = Invertd("cues", preprocessing, orig_keys="image", nearest_interp=True)
        self.folder = Path(output_dir)
        self.tags_key = tags_key
        self.score = score
        self.made_with = dict(made_with or {})
        self.kind = kind
        self.finish = finish
        if self.folder.resolve() == data.dataset.root:
            raise ValueError(f"{self.folder} is the folder of the data set itself; choose another --cues_dir.")

    def run(self) -> str:
        """Write everything and give a summary as text.

        Raises:
            ValueError: cases that could not be used; they are printed, and all others are written before.
        """
        check_writable(self.folder)
        (self.folder / "cues").mkdir(parents=True, exist_ok=True)
        check_replaceable(self.folder / "dataset.json", "--cues_dir", (b"{",), (b'"made_with":',))
        (self.folder / "dataset.json").unlink(missing_ok=True)  # it comes last, and is whole or not there
        cases = sorted([*self.data.training, *self.data.validation], key=lambda case: (case["patient"], case["case"]))
        entries = {case["case"]: case for case in [*self.data.dataset.training, *self.data.dataset.test]}
        counts = np.zeros((5, len(self.data.class_names) + 1), dtype=np.int64)
        training = []
        failed: dict[str, str] = {}
        for case in tqdm(cases, desc="cues", unit="case", disable=None):
            try:
                entry, found = self._write(case, entries[case["case"]])
            except Exception as error:
                if (reason := reason_of(error)) is None or isinstance(error, OSError):
                    raise
                failed[case["case"]] = reason
                continue
            training.append(entry)
            counts += found
        if not training:
            raise ValueError("; ".join(f"case '{case}': {why}" for case, why in list(failed.items())[:1]))
        hidden = {"weak_label": None, "weak_labels": {"kind": "nothing"}}
        test = [moved_case(self.data.dataset, entries[c["case"]], self.folder) | hidden for c in self.data.test]
        path = write_dataset(self.folder, self._description(training, test))
        said = f"{self._table(counts)}\n{path}: cues of {len(training)} cases; {len(test)} to test without"
        if failed:
            print(said)
        raise_failures(failed, len(cases), f"are left out of {path}")
        return said

    def _write(self, case: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        """Write the cues of a case; give its entry and its counts."""
        prepared = cast(dict[Hashable, Any], self.preprocessing(case))
        cues = self._cues(prepared)
        target = f"cues/{case['case']}.nii.gz"
        affine = np.asarray(cues.affine, dtype=np.float64)
        save_image(nib.Nifti1Image(cues[0].numpy(), affine), self.folder / target)
        moved = moved_case(self.data.dataset, entry, self.folder) | {"weak_labels": None, "weak_label": target}
        moved |= {key: self._in_file_order(moved, prepared[key]) for key in ("tags", "slice_tags")}
        return moved, self._counts(case, prepared, cues)

    def _cues(self, prepared: Mapping[Hashable, Any]) -> MetaTensor:
        """Cues on the grid of the image's file; nothing is known of what the network did not see."""
        made = self.make(prepared["image"], prepared[self.tags_key]).int()
        shifted = torch.where(made == UNLABELLED, 0, made + 1)  # what was cropped away comes back as 0
        back = self.invert({**prepared, "cues": MetaTensor(shifted.float(), meta=prepared["image"].meta)})["cues"]
        index = back.as_tensor().round().int()
        cues = torch.where(index == 0, UNLABELLED, index - 1).to(torch.uint8)
        if self.finish is not None:
            cues = self.finish(cues, prepared[self.tags_key])
        return MetaTensor(cues, affine=back.affine)

    def _in_file_order(self, entry: Mapping[str, Any], tags: Tensor) -> Any:
        """Tags with the classes in the order of the case's own labels, as `dataset.json` has them."""
        own = class_names_of(self.data.dataset.labels_of(entry))
        return tags[..., [self.data.class_names.index(name) for name in own]].tolist()

    def _counts(self, case: Mapping[str, Any], prepared: Mapping[Hashable, Any], cues: Tensor) -> np.ndarray:
        """For each class: images that show it, and voxels of cues; where scored, of those, right ones, and all.

        The last column is of voxels without a cue.
        """
        count = len(self.data.class_names)
        tags = np.asarray(prepared[self.tags_key]).reshape(-1, count)
        out = np.zeros((5, count + 1), dtype=np.int64)
        index = cues[0].numpy()
        out[0, :count] = (tags == 1).sum(0)
        out[1] = _histogram(index, count)
        if self.score and case.get("label") is not None:
            label = LoadCased(keys=["image", "label"])(cast(dict[Hashable, Any], case))["label"][0].numpy()
            known = label != UNLABELLED
            out[2] = _histogram(index[known], count)
            out[3] = _histogram(index[known & (index == label)], count)
            out[4] = _histogram(label, count)
            out[2:, count] = 0
        return out

    def _description(self, training: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, Any]:
        names = self.data.class_names
        section = {
            "kind": self.kind,
            "values": {**{str(k): name for k, name in enumerate(names)}, str(UNLABELLED): "unlabelled"},
            "undrawn_means_absent": False,
            "made_with": self.made_with,
        }
        parts = {
            part: [{key: value for key, value in case.items() if value is not None} for case in cases]
            for part, cases in (("training", training), ("test", test))
        }
        outside = {"files_outside": True} if leads_outside([*training, *test]) else {}
        return {**carried(self.data.dataset), "weak_label": section, **outside, **parts}

    def _table(self, counts: np.ndarray) -> str:
        names = [*self.data.class_names, "unlabelled"]
        scored = bool(counts[4].any())
        head = ["class", "images with it", "voxels of cues"]
        head += ["evaluation only: right %", "of the class %", "of all voxels %"] if scored else []
        rows = [head]
        for name, shown, drawn, judged, right, there in zip(names, *counts.tolist(), strict=True):
            row = [name, "-" if name == "unlabelled" else str(shown), str(drawn)]
            parts = [(right, judged), (right, there), (there, counts[4].sum() if there else 0)] if scored else []
            rows.append(row + [f"{100 * part / whole:.1f}" if whole else "-" for part, whole in parts])
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        return "\n".join(
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        )


def _histogram(index: np.ndarray, count: int) -> np.ndarray:
    """Voxels of each class, and as the last of no class."""
    found = np.bincount(index.ravel(), minlength=UNLABELLED + 1)
    return np.append(found[:count], found[UNLABELLED])
