# SPDX-License-Identifier: Apache-2.0
"""From the raw class activation maps of a case to one score of the foreground a voxel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from torch import Tensor

from wss_monai.functional.cams.channels import CLASSES, per_slice, slice_tag_logits, split_channels
from wss_monai.functional.cams.max_norm import max_norm
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.transforms.bounds.intervals import tags_of

__all__ = ["CAMScores", "CAMScoresd"]

GATES, NORMS, FUSIONS = ("predicted", "tags", "none", "soft"), ("slice", "volume", "evidence"), ("mean", "max")


class CAMScores(Transform):
    """Score of the foreground, 0 to 1, from the raw maps that a network of M modalities gives, stitched to a volume.

    Slice by slice, each modality's map is brought to 0..1 (``max_norm``; nowhere positive: 0), the modalities are
    fused, and a gate puts slices to 0 that do not show the foreground. The probability of a slice is the softmax of the
    mean of its raw maps; when modalities are fused, it is the mean of theirs. The published form (Patel and Dolz,
    MedIA 77:102374, 2022) is the map of one modality with ``gate="predicted"`` and ``normalize="slice"``.

    Args:
        modalities: M, or the names of the modalities.
        fuse: ``mean`` or ``max`` of the modalities' maps, or the index or name of the only one to use.
        gate: ``predicted``: slices with a probability up to 0.5 become 0; ``tags``: the known tag of the slice decides,
            and the prediction where it is unknown (for pseudo-labels of training patients, whose tags are given);
            ``soft``: the map times the probability; ``none``.
        normalize: ``slice``: the strongest voxel of every slice is 1; ``volume``: the strongest of the volume is, so
            that weak slices stay weak; ``evidence``: no map is scaled, and its sigmoid is the score, for networks whose
            maps are evidence for against evidence against the foreground (``CAMNet`` with a ``share`` below 0.5).
        slice_axis: spatial axis across the slices of a volume; an image of two axes is one slice. None: the volume is
            one image, with a tag of its own.

    Raises:
        ValueError: no modality, or a word that is none of these.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        modalities: int | Sequence[str],
        fuse: str | int = "mean",
        gate: str = "predicted",
        normalize: str = "slice",
        slice_axis: int | None = 2,
    ) -> None:
        self.names = [str(m) for m in (range(modalities) if isinstance(modalities, int) else modalities)]
        if not self.names:
            raise ValueError(f"modalities must be at least 1, or their names, got {modalities!r}.")
        if fuse not in (*FUSIONS, *self.names, *range(len(self.names))) or isinstance(fuse, bool):
            choices = ", ".join([*FUSIONS, *self.names])
            raise ValueError(f"fuse must be one of {choices} or an index below {len(self.names)}, got {fuse!r}.")
        if gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}, got {gate!r}.")
        if normalize not in NORMS:
            raise ValueError(f"normalize must be one of {', '.join(NORMS)}, got {normalize!r}.")
        self.fuse = self.names.index(str(fuse)) if fuse not in FUSIONS and not isinstance(fuse, int) else fuse
        self.gate = gate
        self.normalize = normalize
        self.slice_axis = slice_axis

    def __call__(self, raw: Tensor, tags: Any = None) -> Tensor:
        """Score one case.

        Args:
            raw: (M E, *spatial), the raw maps modality by modality, E = 2 (background, foreground) or 3 (and the map of
                the foreground that is shown in its place).
            tags: (S, 2) of the slices, 1 present, 0 absent, -1 unknown; for ``gate="tags"``.

        Returns:
            (1, *spatial) in 0..1, float32, with the meta data and the applied operations of ``raw``.

        Raises:
            ValueError: channels or tags that do not fit, values that are not finite, no tags where they are the gate.
        """
        return self.all_maps(raw, tags)[-1:]

    def all_maps(self, raw: Tensor, tags: Any = None) -> Tensor:
        """The map of each modality, with its own gate, and the score (M + 1, *spatial) as the last; see `__call__`."""
        given = convert_to_tensor(raw, track_meta=isinstance(raw, MetaTensor))
        values = plain_tensor(given).detach().float()
        if not bool(values.isfinite().all()):
            raise ValueError("the raw maps hold values that are not finite: the network has diverged.")
        _, shown = split_channels(values[None], len(self.names))
        slices = per_slice(shown[:, 0], self.slice_axis)
        if self.normalize == "evidence":
            maps = slices.sigmoid()
        else:
            maps = max_norm(slices, slices.dim() - (2 if self.normalize == "slice" else 1))
        probs = slice_tag_logits(values, len(self.names), self.slice_axis).softmax(-1)[..., 1].T  # (M, S)
        if isinstance(self.fuse, int):
            fused, prob = maps[self.fuse], probs[self.fuse]
        else:
            fused, prob = (maps.mean(0) if self.fuse == "mean" else maps.amax(0)), probs.mean(0)
        maps, probs = torch.cat((maps, fused[None])), torch.cat((probs, prob[None]))
        maps = maps * self._gate(probs, tags)[(...,) + (None,) * (maps.dim() - 2)]
        whole = self.slice_axis is None or values.dim() < 4
        out = maps[:, 0] if whole else maps.movedim(1, self.slice_axis + 1)  # type: ignore[operator]
        return convert_to_dst_type(out.clamp(0, 1), given, dtype=torch.float32)[0]

    def _gate(self, probs: Tensor, tags: Any) -> Tensor:
        """Factor of each map and slice (M + 1, S)."""
        if self.gate == "none":
            return torch.ones_like(probs)
        if self.gate == "soft":
            return probs
        predicted = (probs > 0.5).to(probs)
        if self.gate == "predicted":
            return predicted
        if tags is None:
            raise ValueError(
                "gate 'tags' needs the tags of the case's slices, and there are none: take gate 'predicted', or 'soft'."
            )
        present = tags_of(tags, probs.shape[1], CLASSES)[:, 1].to(probs)
        return torch.where(present >= 0, present, predicted)


class CAMScoresd(MapTransform):
    """Scores of the foreground from raw class activation maps, see ``CAMScores``.

    For the post-processing of a bundle: behind the network and before ``CAMLogitsd`` and ``Invertd``.

    Args:
        keys: the raw maps, (M E, *spatial).
        modalities: M, or the names of the modalities.
        maps_key: where to put the map of each modality and the score (M + 1, *spatial) besides, for files and figures;
            with several ``keys`` one for each.
        tags_key: the tags of the slices (S, 2), read for ``gate="tags"`` alone.
        allow_missing_keys: leave a case without the maps as it is.
        scores: further arguments of ``CAMScores``.

    Raises:
        ValueError: as ``CAMScores``.
        KeyError: a case without the maps.
    """

    backend = CAMScores.backend

    def __init__(
        self,
        keys: KeysCollection = "pred",
        modalities: int | Sequence[str] = 1,
        *,
        maps_key: KeysCollection | None = None,
        tags_key: str = "slice_tags",
        allow_missing_keys: bool = False,
        **scores: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        names = () if maps_key is None else (maps_key,) if isinstance(maps_key, str) else tuple(maps_key)  # type: ignore[arg-type]
        if names and len(names) != len(self.keys):
            raise ValueError(f"maps_key must name one key for each of {list(self.keys)}, got {list(names)}.")
        self.maps_keys = dict(zip(self.keys, names, strict=False))
        self.tags_key = tags_key
        self.score = CAMScores(modalities, **scores)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the scores into a copy of the case."""
        d = dict(data)
        for key in self.key_iterator(d):
            maps = self.score.all_maps(d[key], d.get(self.tags_key) if self.score.gate == "tags" else None)
            d[key] = maps[-1:]
            if key in self.maps_keys:
                d[self.maps_keys[key]] = maps
        return d
