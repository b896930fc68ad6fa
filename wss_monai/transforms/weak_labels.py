# SPDX-License-Identifier: Apache-2.0
"""Transforms that derive a weak label from a dense one while training, for trials of weak annotation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_numpy, ensure_tuple_rep

from wss_monai.functional.weak.strategies import STRATEGIES, Strategy, case_seed, strategy_options

__all__ = [
    "STRATEGIES",
    "RandWeakLabel",
    "RandWeakLabeld",
    "WeakLabeld",
    "case_seed",
    "strategy_options",
]


class RandWeakLabel(RandomizableTransform):
    """Draw a weak label from a dense one, a new one at each call.

    Args:
        strategy: a name in ``STRATEGIES``.
        slice_axis: draw in every 2D slice along this spatial axis; None: draw in the image's own dimension. The
            strategy ``sparse_slices`` keeps slices along it (None: along axis 2).
        options: options of the generator (``wss_monai.functional.weak.generators`` and ``scribbles``).

    Raises:
        ValueError: if there is no such strategy, it has no such option, or the option's value is of another type.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, strategy: str, slice_axis: int | None = None, **options: Any) -> None:
        RandomizableTransform.__init__(self)
        self.drawing = Strategy(strategy, slice_axis, **options)
        self.strategy, self.slice_axis, self.options = strategy, slice_axis, options

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Draw.

        Args:
            img: dense class indices, shape ``(1, *spatial)``, 255 where unknown.

        Returns:
            uint8 of the same shape, kind, device and metadata; class indices, 255 where unlabelled.

        Raises:
            ValueError: on more than one channel or values that are no class indices.
        """
        return self.paint(img, self.R)

    def paint(self, img: NdarrayOrTensor, R: np.random.RandomState) -> NdarrayOrTensor:
        """Draw with a given source of randomness and leave the transform's own alone."""
        label = convert_to_numpy(img)
        if label.ndim < 3 or label.shape[0] != 1:
            raise ValueError(f"a dense label needs one channel, shape (1, *spatial); got shape {tuple(label.shape)}")
        weak = self.drawing.draw(label[0], R)
        dtype = torch.uint8 if isinstance(img, torch.Tensor) else np.uint8
        return convert_to_dst_type(weak[None], img, dtype=dtype)[0]

    def channels(self, label: np.ndarray, num_classes: int) -> np.ndarray:
        """Draw the boxes of each class in a channel of its own; see ``Strategy``."""
        return self.drawing.channels(label, num_classes)


class WeakLabeld(MapTransform):
    """Derive a case's weak label from its dense one: the same label whenever the case is asked for.

    The draw is a function of (seed, case id), whatever the order of the cases or the worker, and the transform is no
    random one for MONAI, so that ``CacheDataset`` keeps its result. A new draw at each epoch would uncover the dense
    label bit by bit, which no annotator does.

    Args:
        keys: keys of the dense labels, shape ``(1, *spatial)``.
        strategy: see ``RandWeakLabel``, as are slice_axis and options.
        slice_axis: see there.
        output_key: where the weak label goes; one for each of ``keys``.
        seed: of the draw.
        id_key: key of the case id.
        allow_missing_keys: leave a case without the dense label as it is.
        options: see there.
    """

    backend = RandWeakLabel.backend

    def __init__(
        self,
        keys: KeysCollection = "label",
        *,
        strategy: str,
        slice_axis: int | None = None,
        output_key: KeysCollection = "weak_label",
        seed: int = 0,
        id_key: str = "case",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.converter = RandWeakLabel(strategy, slice_axis, **options)
        self.output_keys = ensure_tuple_rep(output_key, len(self.keys))
        self.seed: int | None = seed
        self.id_key = id_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the weak label to a case.

        Raises:
            ValueError: if the case has no id, or as ``RandWeakLabel``; the message names the case.
        """
        d = dict(data)
        seed = self.draw_seed(d)
        for key, output_key in self.key_iterator(d, self.output_keys):
            try:
                d[output_key] = self.converter.paint(d[key], np.random.RandomState(seed))
            except ValueError as error:
                raise ValueError(f"case '{d.get(self.id_key)}', key '{key}': {error}") from error
        return d

    def draw_seed(self, data: Mapping[Hashable, Any]) -> int:
        """Return the seed of this case's draw."""
        if self.id_key not in data:
            raise ValueError(
                f"the case has no '{self.id_key}', which makes its draw its own; keys: {sorted(map(str, data))}"
            )
        return case_seed(self.seed or 0, data[self.id_key])


class RandWeakLabeld(RandomizableTransform, WeakLabeld):
    """Derive a weak label with a new draw at each call; with ``seed``, one draw a case as in ``WeakLabeld``.

    All keys share the draw.

    Args:
        keys: see ``WeakLabeld``, as are all other arguments.
        seed: None: draw from the transform's own random state, which MONAI seeds.
        options: see there.
    """

    def __init__(self, keys: KeysCollection = "label", *, seed: int | None = None, **options: Any) -> None:
        RandomizableTransform.__init__(self)
        WeakLabeld.__init__(self, keys, **options)
        self.seed = seed

    def draw_seed(self, data: Mapping[Hashable, Any]) -> int:
        """Return the seed of this case's draw, or of this call's."""
        if self.seed is not None:
            return WeakLabeld.draw_seed(self, data)
        return int(self.R.randint(2**32, dtype=np.uint32))
