# SPDX-License-Identifier: Apache-2.0
"""Before the first step: can this loss learn every class from this training set?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_values import check_tags
from wss_monai.functional.descriptors import completed
from wss_monai.handlers.network_check import check_network
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms import BatchAugment

__all__ = ["TrainingCheck"]

MAPS = ("weak_label", "label")
CHECKED = ("target", "cues", "tags", "bounds")
"""Arguments of losses whose values are looked at."""


class TrainingCheck:
    """Refuse, when training starts, a training set that the loss cannot learn from; put it before all that write.

    Every class needs a labelled voxel in a map that the loss reads, or a constraint that acts on it: a lower bound in
    some sample (an upper one alone is kept by a network that never predicts the class). For the background an upper
    bound of any class will do. Every constraint needs a bound somewhere, and its bounds must leave room. A loss on
    image tags teaches the classes that some tag says are there, and the background; one that learns from tags alone to
    tell images with a class from those without it (its attribute ``two_sided``) needs both. Maps and tags must hold
    nothing else than classes and tags.

    What was found right in the whole training set is not looked for in each batch: ``checked_classes`` of the terms
    becomes the number of classes where all that a term reads was checked here, so that no GPU is waited for.

    Args:
        loader: whose ``store`` holds the training set, see ``wss_monai.data.BatchLoader``.
        loss: whose terms say what they read.
        class_names: background first.
        unsupervised: classes that may go without label and constraint, as the background of the tutorials does.
        network: is asked whether it takes the first sample (`check_network`); None: is not.
        window: in which images are predicted; of an axis with -1 the network must take any length.
        augment: what happens to the samples before the network sees them, which may crop them; None: nothing.

    Raises:
        ValueError: classes without label and constraint, a constraint without any bound, bounds without room, classes
            that all tags say are there, class indices and tags that there are not; named. A network that does not take
            the samples.
    """

    def __init__(
        self,
        loader: Any,
        loss: WeightedSumLoss,
        class_names: Sequence[str],
        unsupervised: Sequence[str] = (),
        network: nn.Module | None = None,
        window: Sequence[int] = (),
        augment: BatchAugment | None = None,
    ) -> None:
        self.loader = loader
        self.loss = loss
        self.class_names = list(class_names)
        self.unsupervised = set(unsupervised)
        self.network = network
        self.window = window
        self.augment = augment

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the training set that the loader holds."""
        store = self.loader.store
        if self.network is not None and len(store):
            image = store.batch([0], 0)["image"]
            if self.augment is not None:
                image = image[(..., *map(slice, self.augment.frame(tuple(image.shape[2:]))))]
            check_network(self.network, image, len(self.class_names), self.window)
        learnt = torch.zeros(len(self.class_names), dtype=torch.bool)
        for name, term in self._constraints():
            learnt |= self._constrained(name, term, store)
        learnt |= self._tagged(store)
        maps = [key for key in MAPS if key in self.loss.target_keys()]
        labelled = torch.zeros_like(learnt)
        for key in maps:
            for case, index in store.by_case(key):
                there = torch.bincount(index.flatten(), minlength=256) > 0
                _refuse_other_classes(case, key, there, self.class_names)
                labelled |= there[: len(labelled)]
        self._need_no_more_checks({*maps, *self._tag_keys(), *(f"bounds_{name}" for name, _ in self._constraints())})
        missing = [
            name for name, known in zip(self.class_names, (learnt | labelled).tolist(), strict=True) if not known
        ]
        if set(missing) <= self.unsupervised:
            return
        count = len(store.cases)
        if not maps and (keys := self._tag_keys()):
            raise ValueError(
                f"nothing in {sorted(keys)} of any of the {count} training cases says that there is "
                f"{' or '.join(missing)}: nothing can be learnt of it. Tag images with 1 (present) and 0 (absent) in "
                "dataset.json; -1 says that a tag is unknown."
            )
        read = " and ".join(f"'{key}'" for key in maps) or "any map"
        if maps and not bool(labelled.any()):
            raise ValueError(
                f"there is no labelled voxel in {read} of any of the {count} training cases, and no constraint says "
                f"how much of {missing} there is at least: nothing can be learnt. Draw weak labels (or give dense "
                "labels for --mode full), and check the paths and 'weak_label.values' in dataset.json."
            )
        raise ValueError(
            f"the classes {missing} have no labelled voxel in {read} of any of the {count} training cases, and no "
            "constraint says how much of them there is at least: the network would never predict them. Label them in "
            "some case, bound them from below in a constraint, or take them out of dataset.json and --class_names."
        )

    def _need_no_more_checks(self, checked: set[str]) -> None:
        for term in self.loss.named_terms():
            read = {key.name for key in term.keys if key.argument in CHECKED}
            if read and read <= checked:
                term.trust(len(self.class_names))

    def _constraints(self) -> Iterator[tuple[str, Any]]:
        for term in self.loss.named_terms():
            if term.descriptor is not None:
                yield term.name, term.loss

    def _tag_keys(self) -> set[str]:
        return {key for term in self.loss.named_terms() if (key := term.key_of("tags"))}

    def _tagged(self, store: Any) -> Tensor:
        """(K,) classes that losses on image tags can teach."""
        learnt = torch.zeros(len(self.class_names), dtype=torch.bool)
        for term in self.loss.named_terms():
            key = term.key_of("tags")
            if key is None:
                continue
            absent = torch.zeros_like(learnt)
            for case, tags in self._entries(store, key):
                try:
                    check_tags(tags)
                except ValueError as error:
                    raise ValueError(f"case '{case}', '{key}': {error}") from error
                learnt |= (tags == 1).any(0)
                learnt[0] |= bool((tags[:, 1:] >= 0).any())
                absent |= (tags == 0).any(0)
            for rows in getattr(store, "slice_tags", ()):  # of patches, whose tags are read off them
                absent |= torch.zeros_like(learnt) if rows is None else (rows == 0).any(0)
            always = [self.class_names[k] for k in range(1, len(learnt)) if learnt[k] and not absent[k]]
            if always and term.two_sided:
                raise ValueError(
                    f"the tags ('{key}') of all {len(store.cases)} training cases never say that {' or '.join(always)} "
                    "is absent: from that a network learns to say that it is everywhere. Keep some images without it, "
                    "such as the slices above and below an organ, and tag them 0."
                )
        return learnt

    def _entries(self, store: Any, key: str) -> Iterator[tuple[str, Tensor]]:
        try:
            yield from store.by_case(key)
        except KeyError as error:
            raise ValueError(
                f"the loss reads '{key}', which the training samples lack: slices have 'slice_tags', patches of "
                "volumes have 'tags', both only where the cases have tags; set the loss's tags_key to what there is."
            ) from error

    def _constrained(self, name: str, term: Any, store: Any) -> Tensor:
        """(K,) classes that a constraint can teach; a relation between classes teaches none of them."""
        relation = bool(completed(term.descriptor).others())
        lower = torch.zeros(len(self.class_names), dtype=torch.bool)
        upper = torch.zeros_like(lower)
        for case, bounds in store.by_case(f"bounds_{name}"):
            wrong = term.no_room(bounds).nonzero()
            if len(wrong):
                sample, index, component = wrong[0].tolist()
                raise ValueError(
                    f"case '{case}', class '{self.class_names[index]}': the bounds of '{name}' leave no room: lower "
                    f"and upper are {bounds[sample, index, component].tolist()} (in voxels); widen the interval (a "
                    "log-barrier needs lower < upper)."
                )
            lower |= bounds[..., 0].isfinite().any(-1).any(0)
            upper |= bounds[..., 1].isfinite().any(-1).any(0)
        acting = torch.ones_like(lower)
        if term.classes is not None:
            acting = torch.zeros_like(lower).index_fill(0, torch.tensor(term.classes), True)
        if not bool(((lower | upper) & acting).any()):
            advice = (
                "Set --size_bounds (in 3D --volume_bounds), choose another --bounds_from, or a mode without "
                "constraints such as pseudo or partial."
            )
            if relation:
                advice = "Draw or tag both classes that it relates, or leave it out."
            raise ValueError(
                f"the constraint '{name}' has no bound in any of the {len(store.cases)} training cases: its bounds "
                f"come from tags, labels or values that are not there. {advice}"
            )
        if relation or not getattr(term, "sizes", True):
            return torch.zeros_like(lower)
        learnt = lower & acting
        learnt[0] |= bool((upper & acting).any())
        return learnt


def _refuse_other_classes(case: str, key: str, there: Tensor, class_names: Sequence[str]) -> None:
    """Refuse a map with other values than classes and 255; ``there`` (256,) says which values it holds."""
    values = there.nonzero()[:, 0].tolist()
    if wrong := [value for value in values if len(class_names) <= value != UNLABELLED]:
        raise ValueError(
            f"case '{case}': '{key}' holds {wrong[:5]}, but there are {len(class_names)} classes "
            f"(0..{len(class_names) - 1}: {list(class_names)}; unlabelled = {UNLABELLED})."
        )
