# SPDX-License-Identifier: Apache-2.0
"""What a network learns from a few labelled and many unlabelled images: supervision, consistency, information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional.cluster_settings import HEAD_SETTINGS, LOSS_SETTINGS
from wss_monai.functional.settings import ShownSettings
from wss_monai.losses.mutual_information import IICLoss, LocalIICLoss
from wss_monai.losses.weighted_sum import WeightedSumLoss

__all__ = ["FeatureMutualInformationLoss", "SemiSupervisedLoss"]

CONSISTENCY, INFORMATION, OUTPUTS = "consistency", "mutual_information", "output_information"
SETTINGS = ("scale", *LOSS_SETTINGS, *HEAD_SETTINGS)


class FeatureMutualInformationLoss(ShownSettings, nn.Module):
    """Mutual information between the cluster assignments of two views, averaged over several features of a network.

    Source: Peng, Pedersoli and Desrosiers, MELBA 2021:009, released code: global where the features are pooled, local
    (over displacements) where they are maps, weighted by their importance.

    Args:
        features: name -> {"scale": "global" | "local"}, and "importance" (1; relative to the others'), for local ones
            "padding" (1; largest displacement, a number or one an axis) and "patch_size" (None = the whole map);
            "num_heads" overrides the argument. What else `networks.ClusterNetwork` reads is ignored.
        num_heads: sub-heads S of each feature, whose losses are averaged.
        lam: weight of the marginal entropies; 1 is the mutual information.
        subtract_min: see `LocalIICLoss`.
        backend: of the local joint.

    Attributes:
        values: feature -> its loss in the last call (minus the mutual information, nats), detached.

    Raises:
        ValueError: no features, settings that are unknown or out of range.
    """

    shown = ("importance", "losses")

    def __init__(
        self,
        features: Mapping[str, Mapping[str, Any]],
        num_heads: int = 5,
        lam: float = 1.0,
        subtract_min: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if not features:
            raise ValueError("features is empty: name at least one feature of the network, or leave this term out.")
        self.losses: dict[str, nn.Module] = {}
        importance = {}
        for name, settings in features.items():
            if unknown := sorted(set(settings) - set(SETTINGS)):
                raise ValueError(f"feature '{name}': unknown settings {unknown}; it takes {list(SETTINGS)}.")
            importance[name] = float(settings.get("importance", 1.0))
            if importance[name] < 0:
                raise ValueError(f"feature '{name}': importance must be 0 or more, got {importance[name]}.")
            heads, scale = int(settings.get("num_heads", num_heads)), settings.get("scale")
            if scale == "global":
                self.losses[name] = IICLoss(lam=lam, num_heads=heads)
            elif scale == "local":
                local = {key: settings[key] for key in ("padding", "patch_size") if key in settings}
                options: dict[str, Any] = {"lam": lam, "subtract_min": subtract_min, "backend": backend, **local}
                self.losses[name] = LocalIICLoss(num_heads=heads, **options)
            else:
                raise ValueError(f"feature '{name}': scale must be 'global' or 'local', got {scale!r}.")
        total = sum(importance.values())
        if not total > 0:
            raise ValueError("the importance of all features is 0: give one of them more, or leave this term out.")
        self.importance = {name: value / total for name, value in importance.items()}
        self.values: dict[str, Tensor] = {}

    def forward(self, clusters: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Scalar loss of the assignments of both views by feature: (N, S*K), local ones (N, S*K, *spatial).

        Raises:
            ValueError: assignments of other features than those of the loss, or that do not fit them.
        """
        if set(clusters) != set(self.losses):
            raise ValueError(f"the loss is about the features {sorted(self.losses)}, but got {sorted(clusters)}.")
        total = torch.zeros(())
        for name, loss in self.losses.items():
            try:
                value = loss(*clusters[name])
            except ValueError as error:
                raise ValueError(f"feature '{name}': {error}") from error
            self.values[name] = value.detach()
            total = total.to(value) + self.importance[name] * value
        return total


class SemiSupervisedLoss(ShownSettings, WeightedSumLoss):
    """The sum of supervised terms on the labelled images and of what the unlabelled ones teach, each kept by name.

    ``consistency`` compares the prediction of the moved image, through which the gradient flows, with the moved
    prediction of the image itself (unsupervised data augmentation, "uda") or of a teacher. ``mutual_information``
    compares cluster assignments of features of both views, with a gradient through both; ``output_information`` the
    class probabilities themselves (Peng, Pedersoli and Desrosiers, MIDL 2020). Source: Peng, Pedersoli and Desrosiers,
    MELBA 2021:009, released code.

    Args:
        labelled: name -> [loss, weight] of terms on the labelled images; the first is supervised.
        unlabelled: name -> [loss, weight] of terms on the predictions of the unlabelled images as they are: entropy,
            size constraints ...
        consistency: [loss, weight], see `ConsistencyLoss`.
        mutual_information: [loss, weight], see `FeatureMutualInformationLoss`.
        teacher: the target of the consistency is the teacher's prediction.
        output_information: [loss, weight] of the softmax of both views' logits, see `LocalIICLoss`.

    Raises:
        ValueError: no labelled term, two terms of one name, a teacher without consistency.
    """

    shown = ("labelled", "unlabelled", "weights", "teacher")

    def __init__(
        self,
        labelled: Mapping[str, Sequence[Any]],
        unlabelled: Mapping[str, Sequence[Any]] | None = None,
        consistency: Sequence[Any] | None = None,
        mutual_information: Sequence[Any] | None = None,
        teacher: bool = False,
        label_key: str = "label",
        output_information: Sequence[Any] | None = None,
    ) -> None:
        unlabelled = unlabelled or {}
        views = {CONSISTENCY: consistency, INFORMATION: mutual_information, OUTPUTS: output_information}
        views = {name: term for name, term in views.items() if term is not None}
        if not labelled:
            raise ValueError("labelled is empty: give a supervised term, name: [loss, weight].")
        names = [*labelled, *unlabelled, *views]
        if len(set(names)) != len(names):
            raise ValueError(f"two terms have one name: {sorted(names)}.")
        if teacher and consistency is None:
            raise ValueError("teacher needs a consistency term, which compares with its prediction.")
        super().__init__({**labelled, **unlabelled, **views}, label_key=label_key)
        self.labelled, self.unlabelled, self.views = list(labelled), list(unlabelled), list(views)
        self.teacher = teacher

    @property
    def informative(self) -> bool:
        """Whether clusters of features are compared, so that the network needs heads."""
        return INFORMATION in self.views

    @property
    def needs_first(self) -> bool:
        """Whether the network has to see the unlabelled images as they are."""
        both = INFORMATION in self.views or OUTPUTS in self.views
        return bool(self.unlabelled) or both or (CONSISTENCY in self.views and not self.teacher)

    @property
    def needs_second(self) -> bool:
        """Whether the network has to see the moved unlabelled images."""
        return bool(self.views)

    @property
    def needs_unlabelled(self) -> bool:
        """Whether unlabelled images are needed at all."""
        return self.needs_first or self.needs_second

    def target_keys(self) -> set[str]:
        """The target keys that the terms on labelled and unlabelled images want."""
        return self.keys_of([*self.labelled, *self.unlabelled])

    def forward(self, logits: Tensor | Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        """Scalar loss.

        Args:
            logits: of labelled images alone, or what `engines.SemiSupervisedInferer` gives: "labelled" (n, K,
                *spatial), and as the terms need them "first", "second" and "teacher" (m, K, *spatial) and "clusters".
            target: rows of the n labelled and then of the m unlabelled images, and "view", the map between first and
                second.
        """
        output = {"labelled": logits} if isinstance(logits, Tensor) else logits
        count = len(output["labelled"])
        total = self.sum_of(self.labelled, output["labelled"], _rows(target, slice(None, count)))
        if self.unlabelled:
            total = total + self.sum_of(self.unlabelled, output["first"], _rows(target, slice(count, None)))
        if self.views:
            with torch.autocast(total.device.type, enabled=False):
                total = total + self._between_views(output, target)
        return total

    def _between_views(self, output: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        total = torch.zeros((), device=output["second"].device)
        if CONSISTENCY in self.views:
            with torch.no_grad():
                other = target["view"](output["teacher" if self.teacher else "first"].detach().float())
            total = total + self._part(CONSISTENCY, self.terms[CONSISTENCY](output["second"], other))
        if INFORMATION in self.views:
            loss: Any = self.terms[INFORMATION]
            total = total + self._part(INFORMATION, loss(output["clusters"]))
            self.parts |= {f"{INFORMATION}_{name}": value for name, value in loss.values.items()}
        if OUTPUTS in self.views:
            first = target["view"](torch.softmax(output["first"].float(), 1))
            second = torch.softmax(output["second"].float(), 1)
            total = total + self._part(OUTPUTS, self.terms[OUTPUTS](second, first))
        return total

    def _part(self, name: str, value: Tensor) -> Tensor:
        self.parts[name] = value.detach()
        return self.weights[name] * value


def _rows(target: Mapping[str, Any], rows: slice) -> dict[str, Tensor]:
    return {key: value[rows] for key, value in target.items() if isinstance(value, Tensor) and value.dim()}
