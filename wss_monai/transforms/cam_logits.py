# SPDX-License-Identifier: Apache-2.0
"""A threshold on the score of the foreground, as logits of two classes."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from skimage.filters import threshold_otsu
from torch import Tensor

from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.json_files import read_json

__all__ = ["OTSU", "CAMLogits", "CAMLogitsd"]

OTSU = "otsu"
ROUNDING = 1e-4
"""How far interpolation may leave a score outside 0..1."""
SMALLEST = 1e-6
"""Least distance of a score from 0 and 1 whose logit is taken, and least logit of what is above the threshold."""


class CAMLogits(Transform):
    """Two channels of logits, 0 and logit(score) - logit(threshold), whose larger is the side of the threshold.

    ``argmax`` is 1 where the score is above the threshold, and 0 elsewhere, at the threshold too. In between, a dense
    CRF can refine the logits, and ``Invertd`` bring them to the image's own grid.

    Args:
        threshold: a number between 0 and 1; ``otsu``: from the positive scores of each volume, none of which is
            foreground where they are all the same; or a JSON file that holds ``{"threshold": 0.4}``, chosen on
            validation patients. The file is read when it is used, so that it can be written in the same run.
        clip: scores closer to 0 and 1 than this count as this, which bounds the logits.
        command: what writes the file, for the message where it is missing.

    Raises:
        ValueError: a threshold or clip that is not between 0 and 1.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, threshold: float | str | os.PathLike[str] = 0.5, *, clip: float = 1e-3, command: str = ""
    ) -> None:
        if not 0 < clip < 0.5:
            raise ValueError(f"clip must lie between 0 and 0.5, got {clip}.")
        self.path: Path | None = None
        if isinstance(threshold, Real):
            _check(threshold, "threshold")
        elif threshold != OTSU:
            self.path = Path(threshold)  # type: ignore[arg-type]
            if self.path.suffix != ".json":
                raise ValueError(
                    f"threshold must be a number between 0 and 1, {OTSU!r} or a JSON file, got {threshold!r}."
                )
        self.threshold = threshold
        self.clip = clip
        self.command = command

    def __call__(self, score: Tensor) -> Tensor:
        """Logits of one case.

        Args:
            score: (1, *spatial) in 0..1.

        Returns:
            (2, *spatial), float32, with the meta data and the applied operations of the score.

        Raises:
            ValueError: a score of several channels or outside 0..1, a file without a threshold.
            FileNotFoundError: there is no such file.
        """
        given = convert_to_tensor(score, track_meta=isinstance(score, MetaTensor))
        values = plain_tensor(given).detach().float()
        if values.dim() < 2 or values.shape[0] != 1:
            raise ValueError(f"a score has the shape (1, *spatial), got {tuple(values.shape)}: put CAMScoresd before.")
        if not bool(((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all()):
            raise ValueError("the score must lie in 0..1: put CAMScoresd before.")
        cut = self.threshold_of(values)
        above = values > cut
        low, high = min(self.clip, cut / 2), max(1 - self.clip, (1 + cut) / 2)
        limit = torch.tensor(cut, dtype=torch.float64).clamp(SMALLEST, 1 - SMALLEST)
        logit = (values.double().clamp(max(low, SMALLEST), min(high, 1 - SMALLEST)).logit() - limit.logit()).float()
        logit = torch.where(above, logit.clamp_min(SMALLEST), logit.clamp_max(0))  # also where rounding made it 0
        return convert_to_dst_type(torch.cat((torch.zeros_like(logit), logit)), given, dtype=torch.float32)[0]

    def threshold_of(self, score: Tensor) -> float:
        """The threshold of this case, see `__call__`; the score itself where Otsu's method sees a single value."""
        if self.path is not None:
            return self._read(self.path)
        if self.threshold != OTSU:
            return float(self.threshold)  # type: ignore[arg-type]
        positive = score[score > 0].cpu().numpy()
        if not len(positive):
            return 0.5
        low, high = float(positive.min()), float(positive.max())
        return high if low == high else float(threshold_otsu(positive))

    def _read(self, path: Path) -> float:
        how = f": {self.command} writes it" if self.command else ""
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {path} with the threshold chosen on validation patients{how}; without dense labels of "
                f"validation patients set the threshold to a number such as 0.5, or to {OTSU!r}."
            )
        try:
            threshold = read_json(path)["threshold"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} must hold JSON such as {{"threshold": 0.4}}{how}.') from error
        _check(threshold, f"the threshold in {path}")
        return float(threshold)


def _check(threshold: Any, name: str) -> None:
    if not isinstance(threshold, Real) or isinstance(threshold, bool) or not 0 < float(threshold) < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {threshold!r}.")


class CAMLogitsd(MapTransform):
    """Logits of two classes from scores of the foreground and a threshold, see ``CAMLogits``.

    Args:
        keys: the scores, (1, *spatial).
        threshold: a number, ``otsu`` or a JSON file.
        allow_missing_keys: leave a case without the score as it is.
        logits: further arguments of ``CAMLogits``.

    Raises:
        ValueError, FileNotFoundError: as ``CAMLogits``.
    """

    backend = CAMLogits.backend

    def __init__(
        self,
        keys: KeysCollection = "pred",
        threshold: float | str | os.PathLike[str] = 0.5,
        *,
        allow_missing_keys: bool = False,
        **logits: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.logits = CAMLogits(threshold, **logits)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the logits into a copy of the case."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.logits(d[key])
        return d
