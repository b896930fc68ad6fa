# SPDX-License-Identifier: Apache-2.0
"""What an averaged network says of a batch, for losses that learn from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.functional.transfer import send
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.batch_augment import BatchAugment

__all__ = ["PrepareTeacher"]

KEYS = ("teacher", "student_share", "class_shift")
AVERAGE = "teacher_average"
STREAM = 0x7EAC4E5
"""Keeps the draw of the share apart from that of the augmentation, which has the same seed."""


class _Shifts(Protocol):
    """Anything that says how the log-probabilities of the classes are moved."""

    shift: Tensor


class PrepareTeacher(PrepareTargets):
    """``PrepareTargets`` that adds the teacher's probabilities of the very voxels that the network sees.

    Among the targets are then ``teacher`` (B, K, *spatial), float32; ``student_share``, a scalar b ~ U(0, 1) that is a
    function of the batch's ``draw`` and so of (seed, epoch, iteration, rank) alone; and ``class_shift`` (K,) where
    sizes of the set are constrained. While the weight of all terms that read the teacher is 0 (``WeightRamp``) it is
    not asked, and ``teacher`` is empty. It always is where two decoders teach each other.

    With ``passes`` the teacher sees the image turned by a random number of quarter turns and with noise, and what it
    says is turned back; ``teacher_average`` (B, K, *spatial) is the mean of so many passes, each with noise of its own
    (Liu et al., Pattern Recognition 122, 2022).

    Args:
        loss: as in ``PrepareTargets``; without a term that reads "teacher" nothing is added.
        network: the averaged network, in evaluation mode; None where no term reads it.
        augment, channels_last: as in ``PrepareTargets``.
        set_size: holds ``shift`` (K,), see ``wss_monai.handlers.SetSize``; None: no shift.
        amp: let the averaged network run in mixed precision.
        amp_dtype: in which type; the one that the network trains in.
        decoders: the network in training has two decoders (``DualDecoderLoss``): no other network is asked.
        passes: of the teacher through noisy images, for terms that read "teacher_average"; 0: one, without noise.
        noise: standard deviation of the noise of ``passes``, cut at twice of it.

    Raises:
        ValueError: terms that read the teacher, and no network; terms that read an average of passes, and no passes.
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        network: nn.Module | None,
        augment: BatchAugment | None = None,
        channels_last: bool = False,
        set_size: _Shifts | None = None,
        amp: bool = False,
        amp_dtype: torch.dtype = torch.bfloat16,
        decoders: bool = False,
        passes: int = 0,
        noise: float = 0.1,
    ) -> None:
        super().__init__(loss, augment, channels_last)
        self.loss = loss
        self.network = network
        self.set_size = set_size
        self.amp = amp
        self.amp_dtype = amp_dtype
        self.passes, self.noise = passes, noise
        self.terms = [term.name for term in loss.named_terms() if KEYS[0] in [key.name for key in term.keys]]
        if self.terms and network is None and not decoders:
            raise ValueError(f"the terms {self.terms} read the teacher's prediction: give the averaged network.")
        if AVERAGE in self.keys and passes < 1:
            raise ValueError(f"a term reads {AVERAGE}: passes must be at least 1, got {passes}.")

    def __call__(
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Image (B, C, *spatial) and the dictionary of targets."""
        image, targets = super().__call__(batchdata, device, non_blocking, **kwargs)
        if self.terms:
            generator = torch.Generator().manual_seed(int(batchdata["draw"]) ^ STREAM)
            targets["student_share"] = send(torch.rand((), generator=generator), image.device)
            if self.passes:
                targets["teacher"], targets[AVERAGE] = self.ask_with_noise(image, generator)
            else:
                targets["teacher"] = self.ask(image)
            if self.set_size is not None:
                targets["class_shift"] = send(self.set_size.shift, image.device)
        return image, targets

    @property
    def _wanted(self) -> bool:
        """Whether any term that reads the teacher has a weight."""
        return any(self.loss.weights[term] > 0 for term in self.terms)

    @torch.no_grad()
    def ask(self, image: Tensor) -> Tensor:
        """Probabilities (B, K, *spatial) of images (B, C, *spatial), float32; empty while nobody learns from them."""
        if self.network is None or not self._wanted:
            return image.new_zeros(0)
        with torch.autocast(image.device.type, dtype=self.amp_dtype, enabled=self.amp):
            logits = self.network(image)
        return torch.softmax(logits.float(), 1)

    def ask_with_noise(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Probabilities of a turned image with noise, turned back, and their mean over ``passes`` of them.

        Only half turns are drawn where the last two axes differ in extent.
        """
        if not self._wanted:
            return image.new_zeros(0), image.new_zeros(0)
        square = image.shape[-1] == image.shape[-2]
        times = int(torch.randint(0, 4 if square else 2, (), generator=generator)) * (1 if square else 2)
        turned = torch.rot90(image, times, (-2, -1))
        seed = int(torch.randint(0, 2**31 - 1, (), generator=generator))
        here = torch.Generator(image.device).manual_seed(seed)

        def once() -> Tensor:
            drawn = torch.randn(turned.shape, generator=here, device=image.device, dtype=image.dtype)
            said = self.ask(turned + (self.noise * drawn).clamp(-2 * self.noise, 2 * self.noise))
            return torch.rot90(said, -times, (-2, -1))

        first, total = once(), once()
        for _ in range(self.passes - 1):
            total += once()
        return first, total / self.passes
