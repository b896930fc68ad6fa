# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a volume from trained networks of class activation maps and its tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms.utils import get_largest_connected_component_mask
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.cams.channels import per_slice, slice_tag_logits
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.transforms import CAMLogits, CAMScores

__all__ = ["CAMPseudoLabels"]

BACKGROUND, FOREGROUND = 0, 1
PRESENT, ABSENT, UNDECIDED = 1, 0, -1
GATES = ("tags", "soft")
COMPONENTS = ("slice", "volume")


class CAMPseudoLabels:
    """Confident foreground, confident background and, between, nothing: partial labels made of tags alone.

    What a slice gets depends on its tag:

    - absent: background everywhere.
    - present: foreground where the score of ``CAMScores`` is at least ``foreground``, background where it is at most
      ``background``, 255 between. A slice in which no map is positive says nothing and is 255 everywhere, since
      background everywhere would contradict its tag.
    - unknown: as one that is present, or absent, where the networks of all modalities in use say so with a probability
      of at least ``confident``; 255 everywhere otherwise. If that left no slice where the foreground may be, the
      slices of unknown tag are 255 everywhere, since a tag of the volume may say that it is there.

    Args:
        network: trained, gives raw maps (B, M E, *spatial), modality by modality; is used in evaluation mode.
        modalities: M, or their names.
        inferer: MONAI inferer that gives the raw maps of a volume (1, M E, *spatial); None: the network sees each whole
            slice, or the whole image where ``slice_axis`` is None.
        slice_axis: spatial axis across the slices of a volume, each with a tag; None: the volume has one.
        fuse, normalize: as in ``CAMScores``.
        gate: ``tags``, or ``soft``: the score times the probability that the networks give a slice, so that slices of
            which they are unsure get less foreground; what is absent is decided by tags either way.
        foreground: score from which a voxel is foreground.
        background: score up to which a voxel is background.
        confident: probability from which a slice of unknown tag counts as present, or as absent; None: never.
        minimum: voxels of foreground that a slice in which it is present gets at least, those of the highest positive
            scores; 0: such a slice without any is 255 everywhere.
        keep_largest: keep the largest connected component of the foreground, of each ``slice`` or of the ``volume``
            (True: the same); the others become 255, and so do slices that are left without any. False: keep all.
        crf: refines logits (2, *spatial) of the score with the image (C, *spatial) to log-probabilities, such as
            ``wss_monai.transforms.RefineByDenseCRF``; the probability takes the place of the score. A logit is 0 half
            way between ``background`` and ``foreground``.
        device: where the network runs.
        batch_size: slices that the network sees at a time without an inferer.

    Raises:
        ValueError: numbers out of range, ``foreground`` not above ``background``, what ``CAMScores`` refuses.
    """

    def __init__(
        self,
        network: nn.Module,
        modalities: int | Sequence[str],
        inferer: Callable[..., Any] | None = None,
        slice_axis: int | None = 2,
        fuse: str | int = "mean",
        normalize: str = "slice",
        gate: str = "tags",
        foreground: float = 0.6,
        background: float = 0.2,
        confident: float | None = 0.9,
        minimum: int = 1,
        keep_largest: bool | str = False,
        crf: Callable[[Tensor, Tensor], Tensor] | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 16,
    ) -> None:
        if not (0 <= background < 1 and 0 < foreground <= 1):
            raise ValueError(f"background and foreground must lie in 0..1, got {background} and {foreground}.")
        if foreground <= background:
            raise ValueError(f"foreground must be larger than background, got {foreground} and {background}.")
        if confident is not None and not 0.5 < confident <= 1:
            raise ValueError(f"confident must lie above 0.5 and up to 1, or be None for never, got {confident}.")
        if minimum < 0:
            raise ValueError(f"minimum must be 0 or more voxels, got {minimum}.")
        if gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}, got {gate!r}.")
        if keep_largest not in (False, True, *COMPONENTS):
            raise ValueError(f"keep_largest must be False or one of {', '.join(COMPONENTS)}, got {keep_largest!r}.")
        self.scores = CAMScores(modalities, fuse, gate, normalize, slice_axis)
        self.logits = CAMLogits((foreground + background) / 2)
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.inferer = inferer
        self.slice_axis = slice_axis
        self.foreground, self.background = foreground, background
        self.confident = confident
        self.minimum = minimum
        self.keep_largest = "volume" if keep_largest in (True, "volume") else keep_largest
        self.crf = crf
        self.batch_size = batch_size

    def __call__(self, image: Tensor, tags: Tensor) -> Tensor:
        """Make the pseudo-label of an image.

        Args:
            image: (M, *spatial), as the network saw its training images.
            tags: (S, 2) of the S slices, or (2,) of the volume where ``slice_axis`` is None; 1 present, 0 absent,
                -1 unknown, background first.

        Returns:
            Class indices, uint8 (1, *spatial), 255 = unlabelled; a ``MetaTensor`` where the image is one.

        Raises:
            ValueError: tags that do not fit the slices, a network that gives other maps than those of M modalities.
        """
        plain = plain_tensor(image).float().cpu()
        axis = self._axis(plain)
        rows = _rows(tags, 1 if axis is None else plain.shape[axis + 1])
        raw = self._look(plain, axis)
        score = self.scores(raw, rows)
        if self.crf is not None:
            score = torch.as_tensor(self.crf(self.logits(score), image))[1:].exp().cpu()
        states = self._states(rows, raw, axis)
        slices = per_slice(score, axis)[0]
        drawn = torch.stack([self._drawn(piece, int(state)) for piece, state in zip(slices, states, strict=True)])
        kept = self._largest(drawn)
        labels = torch.where(slices <= self.background, BACKGROUND, UNLABELLED).to(torch.uint8)
        labels[drawn] = UNLABELLED
        labels[kept] = FOREGROUND
        labels[(states == UNDECIDED) | ((states == PRESENT) & ~kept.flatten(1).any(1))] = UNLABELLED
        labels[states == ABSENT] = BACKGROUND
        bare = (rows[:, BACKGROUND] == ABSENT).view(-1, *[1] * (labels.dim() - 1))
        labels[bare & (labels == BACKGROUND)] = UNLABELLED
        index = (labels[0] if axis is None else labels.movedim(0, axis))[None].contiguous()
        return MetaTensor(index, meta=image.meta) if isinstance(image, MetaTensor) else index

    def finish(self, index: Tensor, tags: Tensor) -> Tensor:
        """Let a pseudo-label that was carried to the grid of the image's file say what its tags say.

        There, slices that are tagged absent are background everywhere, outside of the field that the networks look at
        too; elsewhere outside of it nothing is known (255). Where the coarser grid of a file lost all foreground of a
        slice that is tagged present, the slice is 255.

        Args:
            index: class indices, uint8 (1, *spatial).
            tags: as for `__call__`.

        Returns:
            A new map like ``index``.

        Raises:
            ValueError: tags that do not fit the slices.
        """
        axis = self._axis(index)
        out = index.clone()
        pieces = [out[0]] if axis is None else list(out[0].unbind(axis))
        for piece, row in zip(pieces, _rows(tags, len(pieces)), strict=True):
            if row[FOREGROUND] == ABSENT:
                piece.fill_(BACKGROUND if row[BACKGROUND] != ABSENT else UNLABELLED)
            elif row[FOREGROUND] == PRESENT and not bool((piece == FOREGROUND).any()):
                piece.fill_(UNLABELLED)
        return out

    def _axis(self, image: Tensor) -> int | None:
        """Axis across the slices, None where the image has one tag."""
        return None if image.dim() < 4 else self.slice_axis

    def _look(self, image: Tensor, axis: int | None) -> Tensor:
        """Raw maps (M E, *spatial) on the CPU, float32."""
        self.network.eval()
        with torch.no_grad():
            if isinstance(self.inferer, SliceInferer) and image.dim() == 3:  # an image of two axes is one slice
                axis_of_one = self.inferer.spatial_dim + 1
                given = image.unsqueeze(axis_of_one)[None].to(self.device)
                raw = self.inferer(given, self.network)[0].squeeze(axis_of_one)
            elif self.inferer is not None:
                raw = self.inferer(image[None].to(self.device), self.network)[0]
            elif axis is None:
                raw = self.network(image[None].to(self.device))[0]
            else:
                slices = image.movedim(axis + 1, 0).split(self.batch_size)
                raw = torch.cat([self.network(part.to(self.device)).cpu() for part in slices]).movedim(0, axis + 1)
        return plain_tensor(raw).float().cpu()

    def _states(self, rows: Tensor, raw: Tensor, axis: int | None) -> Tensor:
        """For each slice: whether the foreground is taken to be present, absent, or neither."""
        states = rows[:, FOREGROUND].clone()
        if self.confident is None or not bool((states == UNDECIDED).any()):
            return states
        probs = slice_tag_logits(raw, len(self.scores.names), axis).softmax(-1)[..., 1]
        if isinstance(self.scores.fuse, int):
            probs = probs[:, self.scores.fuse : self.scores.fuse + 1]
        sure = torch.where((probs >= self.confident).all(1), PRESENT, UNDECIDED)
        sure = torch.where((probs <= 1 - self.confident).all(1), ABSENT, sure)
        guessed = torch.where(states == UNDECIDED, sure.to(states), states)
        return states if bool((guessed == ABSENT).all()) else guessed

    def _drawn(self, score: Tensor, state: int) -> Tensor:
        """Foreground of a slice, boolean (*spatial)."""
        if state != PRESENT:
            return torch.zeros_like(score, dtype=torch.bool)
        drawn = score >= self.foreground
        if int(drawn.sum()) < self.minimum:
            best = score.flatten().topk(min(self.minimum, score.numel()))
            drawn.view(-1)[best.indices[best.values > 0]] = True
        return drawn

    def _largest(self, drawn: Tensor) -> Tensor:
        """The foreground (S, *spatial) that is kept."""
        if self.keep_largest == "volume":
            return _component(drawn)
        return torch.stack([_component(piece) for piece in drawn]) if self.keep_largest == "slice" else drawn


def _component(mask: Tensor) -> Tensor:
    """The largest connected component of a mask, corners included."""
    if not bool(mask.any()):
        return mask
    return torch.as_tensor(get_largest_connected_component_mask(mask, connectivity=None)).bool()


def _rows(tags: Tensor, count: int) -> Tensor:
    """Tags (S, 2)."""
    rows = torch.as_tensor(tags).reshape(-1, torch.as_tensor(tags).shape[-1])
    if rows.shape != (count, 2):
        raise ValueError(
            f"tags of the shape {tuple(torch.as_tensor(tags).shape)} are not those of background and one class in "
            f"{count} slices; keep the file's slices along slice_axis (pixdim -1), or use the tags of the volume with "
            "slice_axis null."
        )
    return rows
