# SPDX-License-Identifier: Apache-2.0
"""The pictures of the tutorials on constrained losses: a disc in a ring, and two circles of which one is wanted.

Every picture is 8-bit grey, with a dense label and a small disc as the only weak label. It depends on (seed, part,
index) alone, so a larger set begins with the pictures of a smaller one. Arrays have the axes (x, y), columns first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from wss_monai.functional import UNLABELLED

__all__ = ["EDITIONS", "PARTS", "Circles", "Discs", "Picture", "add_noise", "ellipse"]

PARTS = ("train", "val")
"""The parts of a set, in the order of the seeds."""
EDGE = 0.45
"""How far, in pixels, a disc reaches beyond its radius, so that radii 50, 25, 5 and 2 give 8005, 2025, 97 and 21."""
SMALL_EDGE = 0.4
"""The same for half axes of 0 to 2 pixels, whose ellipses then have 3, 5, 11 and 21 pixels, as Pillow draws them."""
MAX_SIGMA = 100
"""Noise levels are drawn from the whole numbers below."""


@dataclass(frozen=True)
class Edition:
    """What differs between editions of the disc: grey values of background, ring and disc before noise; the divisor of
    the radius that gives the weak disc's; how far discs reach beyond their radius (pixels)."""

    greys: tuple[int, int, int]
    weak_divisor: int
    edge: float


EDITIONS = {
    # After truncated and clipped noise, averaged over its levels, these greys are 49, 167 and 231, as in that edition.
    "2019": Edition(greys=(42, 169, 247), weak_divisor=5, edge=0.0),
    "2022": Edition(greys=(0, 68, 200), weak_divisor=10, edge=EDGE),
}
"""Editions of the disc, by the year of the tutorial."""


@dataclass(frozen=True)
class Picture:
    """One picture, arrays (W, H) uint8: ``image``; ``label`` 0 or 1; ``weak_label`` 1 or 255 (unlabelled).

    ``sigma`` is the standard deviation of its noise in grey values.
    """

    image: np.ndarray
    label: np.ndarray
    weak_label: np.ndarray
    sigma: int


class _Toy(ABC):
    """A kind of pictures."""

    def picture(self, seed: int, part: str, index: int, sigma: int | None = None) -> Picture:
        """Draw picture ``index`` of a part ("train", "val"), with noise as ``add_noise`` makes it.

        Raises:
            ValueError: an unknown part, a negative seed or index.
        """
        R = _random(seed, part, index)
        clean, target, weak = self._draw(R)
        image, sigma = add_noise(clean, R, sigma)
        return Picture(image, target.astype(np.uint8), np.where(weak, 1, UNLABELLED).astype(np.uint8), sigma)

    @abstractmethod
    def _draw(self, R: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the picture without noise (uint8), what is wanted, and its weak label, all (W, H)."""


@dataclass(frozen=True)
class Discs(_Toy):
    """A bright disc inside a grey one of twice its radius, both in the middle; pictures differ in noise alone.

    Args:
        size: width and height in pixels.
        radius: of the disc that is wanted, pixels.
        edition: "2022": greys 0, 68, 200, weak disc of a tenth of the radius. "2019": greys 49, 167, 231 after noise,
            weak disc of a fifth of the radius, and discs that do not reach beyond their radius (50: 7845 pixels).

    Raises:
        ValueError: an unknown edition, or a disc that is too small or does not fit.
    """

    size: tuple[int, int] = (256, 256)
    radius: int = 50
    edition: str = "2022"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _check_size(self.size, self.radius)
        if self.edition not in EDITIONS:
            raise ValueError(f"edition must be one of {', '.join(EDITIONS)}, got {self.edition!r}")

    def _draw(self, R: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        edition = EDITIONS[self.edition]
        middle = (self.size[0] // 2, self.size[1] // 2)
        ring, disc, weak = (
            ellipse(self.size, middle, (radius, radius), edition.edge)
            for radius in (2 * self.radius, self.radius, self.radius // edition.weak_divisor)
        )
        clean = np.full(self.size, edition.greys[0], np.uint8)
        clean[ring], clean[disc] = edition.greys[1:]
        return clean, disc, weak


@dataclass(frozen=True)
class Circles(_Toy):
    """A white circle anywhere, then a grey one anywhere on top of it or beside it: the grey one is wanted.

    Args:
        size: width and height in pixels.
        radius: of both, pixels; the weak disc's is a tenth of it.
        ellipses: draw ellipses, with half axes from 1 to ``radius`` - 1, the same for both; the weak disc is clipped.
        small_weak: the weak ellipse has a tenth of each half axis, cut to whole pixels, as in the summer school's code;
            where both are 0 nothing is drawn.

    Raises:
        ValueError: a circle that is too small or does not fit.
    """

    size: tuple[int, int] = (256, 256)
    radius: int = 25
    ellipses: bool = False
    small_weak: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _check_size(self.size, self.radius)
        if self.ellipses and self.radius < 2:
            raise ValueError(f"radius must be 2 or more for ellipses, got {self.radius}")

    def _draw(self, R: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        half = (int(R.randint(1, self.radius)), int(R.randint(1, self.radius))) if self.ellipses else (self.radius,) * 2
        centres = [[int(R.randint(self.radius, n - self.radius)) for n in self.size] for _ in range(2)]
        distractor, target = (ellipse(self.size, (x, y), half) for x, y in centres)
        small = (half[0] // 10, half[1] // 10) if self.small_weak else (self.radius // 10,) * 2
        weak = ellipse(self.size, (centres[1][0], centres[1][1]), small, SMALL_EDGE if self.small_weak else EDGE)
        weak = weak & target if any(small) or not self.small_weak else np.zeros_like(weak)
        clean = np.zeros(self.size, np.uint8)
        clean[distractor] = 255
        clean[target] = 125
        return clean, target, weak


def ellipse(size: tuple[int, int], centre: tuple[int, int], half: tuple[int, int], edge: float = EDGE) -> np.ndarray:
    """Rasterise an ellipse: the pixels whose centres lie on it or in it when its half axes grow by ``edge``.

    Args:
        size: width and height in pixels.
        centre: the pixel in the middle, (x, y).
        half: half axes in pixels, (x, y).
        edge: in pixels.

    Returns:
        A mask, (W, H); what reaches beyond the picture is cut.
    """
    x, y = ((np.arange(n) - c) / max(h + edge, 0.5) for n, c, h in zip(size, centre, half, strict=True))
    return x[:, None] ** 2 + y[None, :] ** 2 <= 1


def add_noise(clean: np.ndarray, R: np.random.RandomState, sigma: int | None = None) -> tuple[np.ndarray, int]:
    """Add normal noise, cut to whole numbers towards 0, to a grey picture and clip it to 0..255.

    Args:
        clean: grey values, uint8.
        R: source of randomness.
        sigma: standard deviation; None: a whole number from 0 to 99, drawn too.

    Returns:
        The noisy picture, uint8, and the standard deviation.
    """
    drawn = int(R.randint(MAX_SIGMA))
    sigma = drawn if sigma is None else sigma
    noise = R.normal(0, sigma, clean.shape).astype(np.int16)
    return np.clip(clean + noise, 0, 255).astype(np.uint8), sigma


def _random(seed: int, part: str, index: int) -> np.random.RandomState:
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be 0 or more, got {seed} and {index}")
    return np.random.RandomState([seed, PARTS.index(part), index])


def _check_size(size: tuple[int, int], radius: int) -> None:
    if radius < 1:
        raise ValueError(f"radius must be 1 pixel or more, got {radius}")
    if min(size) <= 2 * radius:
        raise ValueError(
            f"size {size[0]} x {size[1]} is too small for discs of radius {radius}: both sides must be more than "
            f"{2 * radius} pixels; enlarge the picture or take a smaller radius"
        )
