# SPDX-License-Identifier: Apache-2.0
"""How well the raw class activation maps of several modalities tell which slices show the foreground."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from ignite.engine import Engine
from monai.metrics import compute_roc_auc
from torch import Tensor

from wss_monai.evaluation.case_outputs import case_name, each_case
from wss_monai.functional.cams.channels import CLASSES, slice_tag_logits
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.handlers.tag_score import TagScore, of_all, rows
from wss_monai.io.processes import first_process, of_all_processes
from wss_monai.io.run_folder import SLICE_TAGS, TAGS
from wss_monai.io.tables import write_json


class CAMTagScore(TagScore):
    """Minus the cross-entropy of the known tags, from raw activation maps; with accuracy and areas under the curve.

    The logits of a slice are the means of its raw maps; the probability of all modalities together is the mean of
    theirs, which is also what gates the fused map (``wss_monai.transforms.CAMScores``). Only tags are read, never a
    dense label, so it can choose the best epoch. Besides the key value there are ``tag_ce``, ``tag_accuracy`` and
    ``auc`` of the modalities together, and ``auc_<modality>`` of each; no ``auc`` where the known tags are all present
    or all absent. With ``key="accuracy"`` the key value is the share of tags told rightly, the mean of the modalities'
    own, as in the released code of Patel and Dolz (MedIA 77:102374, 2022), and there is ``tag_accuracy_<modality>``.

    As a metric of an evaluator it is given by name, as a handler it stands in the list of handlers; with an
    ``output_dir`` it writes ``evaluation/tags.json`` and, for each slice, ``evaluation/slice_tags.csv`` with the
    columns ``case``, ``slice`` (from 0), ``tag`` (empty: unknown), ``<modality>`` (its probability) and ``fused``.

    Args:
        class_names: background and foreground.
        modalities: M, or the names of the modalities.
        tags_key: key of the tags (S, 2) in the batch, 1 present, 0 absent, -1 unknown.
        slice_axis: spatial axis across the slices of a volume; an image of two axes is one slice. None: the volume is
            one, and its tags are (2,).
        pred_key: key of the raw maps (M E, *spatial) in the output.
        output_dir: the run's folder, to write files.
        key: the key value: "ce" (minus the cross-entropy) or "accuracy".

    Raises:
        ValueError: other than two classes, no modality, another key.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        modalities: int | Sequence[str],
        tags_key: str = "slice_tags",
        slice_axis: int | None = 2,
        *,
        pred_key: str = "pred",
        output_dir: str | os.PathLike[str] | None = None,
        key: str = "ce",
    ) -> None:
        if key not in ("ce", "accuracy"):
            raise ValueError(f"key (--chosen_by) must be 'ce' or 'accuracy', got {key!r}.")
        if len(class_names) != CLASSES:
            raise ValueError(f"class_names must name background and foreground, got {list(class_names)}.")
        self.modalities = [str(m) for m in (range(modalities) if isinstance(modalities, int) else modalities)]
        if not self.modalities:
            raise ValueError(f"modalities must be at least 1, or their names, got {modalities!r}.")
        self.slice_axis = slice_axis
        self.pred_key = pred_key
        self.key = key
        self.folder = None if output_dir is None else Path(output_dir)
        super().__init__(class_names, tags_key)

    def attach(self, engine: Engine, name: str = "tag_score", *args: Any, **kwargs: Any) -> None:
        """Follow an evaluator."""
        super().attach(engine, name, *args, **kwargs)

    def reset(self) -> None:
        """Forget all tags."""
        super().reset()
        self.each: list[Tensor] = []
        self.slices: list[tuple[str, int]] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Take the evaluator's last iteration, decollated or not."""
        for item, output in each_case(engine):
            self.add(output[self.pred_key], item[self.tags_key], case_name(item, item.get("image")))

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add raw maps (B, M E, *spatial) and tags (B, S, 2)."""
        for raw, tags in zip(*output, strict=True):
            self.add(raw, tags)

    def add(self, raw: Tensor, tags: Tensor, case: str = "") -> None:
        """Add the slices of a case.

        Args:
            raw: (M E, *spatial).
            tags: (S, 2), or (2,) of an only slice.
            case: its name, for the table.

        Raises:
            ValueError: numbers of channels or slices that do not fit.
        """
        logits = slice_tag_logits(plain_tensor(raw).detach(), len(self.modalities), self.slice_axis).double().cpu()
        apart = logits[..., 1] - logits[..., 0]  # (S, M)
        known = torch.as_tensor(tags).reshape(-1, CLASSES)
        if len(known) != len(apart):
            raise ValueError(
                f"{self.tags_key}: case {case!r} has {len(known)} rows of tags and maps of {len(apart)} slices along "
                f"slice_axis {self.slice_axis}."
            )
        super().update((_logit_of_mean(apart)[:, None], known))
        self.each.append(apart.float())
        self.slices += [(case, number) for number in range(len(apart))]

    def values(self) -> dict[str, float]:
        """What there is of ``tag_ce``, ``tag_accuracy``, ``auc``, ``auc_<modality>``; every process has to call it."""
        out = super().values()
        out.pop(f"auc_{self.class_names[1]}", None)  # the same as auc
        each, tags = of_all(rows(self.each, len(self.modalities)), rows(self.tags, CLASSES)[:, 1])
        known = tags >= 0
        if self.key == "accuracy" and bool(known.any()):
            right = ((each[known] > 0) == (tags[known] > 0)[:, None]).float().mean(0).tolist()
            out |= {f"tag_accuracy_{name}": share for name, share in zip(self.modalities, right, strict=True)}
        if "auc" in out:
            for m, name in enumerate(self.modalities):
                scores, truth = each[known, m], tags[known].int()
                out[f"auc_{name}"] = float(cast(float, compute_roc_auc(scores, truth)))
        return out

    def compute(self) -> float:
        """The key value; see the class. Of accuracy 0 where no tag is known."""
        if self.key == "ce":
            return super().compute()
        found = self.values()
        own = [found[name] for m in self.modalities if (name := f"tag_accuracy_{m}") in found]
        return sum(own) / len(own) if own else 0.0

    def completed(self, engine: Engine, name: str) -> None:
        """Write the key value under its name, the others beside it, and the files where asked for."""
        super().completed(engine, name)
        if self.folder is not None:
            self._write(self.folder, self.values())

    def _write(self, folder: Path, values: dict[str, float]) -> None:
        found = {place: row for part in of_all_processes(self._rows()) for place, row in part.items()}
        if not first_process():
            return
        table = list(found.values())
        tags = [row["tag"] for row in table]
        counts = {"slices": len(tags), "present": tags.count(1), "absent": tags.count(0), "unknown": tags.count("")}
        SLICE_TAGS.write(folder, table)
        scores = {key: value if math.isfinite(value) else None for key, value in values.items()}
        write_json(folder / TAGS, {"class": self.class_names[1], "modalities": self.modalities, **counts, **scores})

    def _rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Rows of the table by case and slice."""
        found = {}
        for place, each, fused, tag in zip(
            self.slices,
            rows(self.each, len(self.modalities)).sigmoid().tolist(),
            rows(self.logits, 1)[:, 0].sigmoid().tolist(),
            rows(self.tags, CLASSES)[:, 1].tolist(),
            strict=True,
        ):
            about = {"case": place[0], "slice": place[1], "tag": int(tag) if tag >= 0 else ""}
            probs = {name: round(p, 6) for name, p in zip(self.modalities, each, strict=True)}
            found[place] = {**about, **probs, "fused": round(fused, 6)}
        return found


def _logit_of_mean(logits: Tensor) -> Tensor:
    """Logit (S,) of the mean of the probabilities whose logits are (S, M), without rounding them to 0 and 1."""
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
