# SPDX-License-Identifier: Apache-2.0
"""A network with heads that assign its features to clusters."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from wss_monai.functional.cluster_settings import HEAD_SETTINGS, LOSS_SETTINGS, SCALES
from wss_monai.functional.settings import check_flags
from wss_monai.networks.cluster_heads import ClusterHead
from wss_monai.networks.feature_tap import FeatureTap, TapError
from wss_monai.networks.sizes import check_sizes

__all__ = ["ClusterNetwork"]


class ClusterNetwork(nn.Module):
    """Any segmentation network, and cluster heads on features of it (Peng, Pedersoli, Desrosiers, MELBA 2021:009).

    The weights of the network are ``network.*`` in the state, those of the heads ``heads.*``; segmentation needs the
    former alone. Channels of the features are found by a forward of zeros in evaluation mode, which leaves the
    network, its statistics and the random numbers as they were. Under DistributedDataParallel set
    ``find_unused_parameters`` where some batches have no pairs, for the heads get no gradient then.

    Args:
        network: gives logits (B, K, *spatial) of images (B, in_channels, *spatial); wherever it is, heads go there.
        features: name of a module (see ``FeatureTap``) to {"scale": "global" or "local", and any of num_clusters,
            num_heads, kind, normalize, temperature in place of those below}; importance, padding and patch_size are
            the loss's and ignored here. Empty: no heads.
        in_channels: channels of the images.
        spatial_dims: 1 to 3.
        num_clusters: K of each head.
        num_heads: S a feature.
        kind: "linear" or "mlp".
        normalize: whether the logits of a head are scaled to the length 1.
        temperature: divides the logits of the clusters.
        probe_size: sides of the zeros, one number or one an axis.
        separate_statistics: whether labelled, first and second images are three forwards with normalisation statistics
            of their own; False: one forward of all, as published.

    Raises:
        ValueError: no such module, an unknown or missing setting, a number out of range, features that are not
            (B, C, *spatial), or a network that refuses the zeros.
    """

    def __init__(
        self,
        network: nn.Module,
        features: Mapping[str, Mapping[str, Any]],
        in_channels: int = 1,
        spatial_dims: int = 2,
        num_clusters: int = 20,
        num_heads: int = 5,
        kind: str = "linear",
        normalize: bool = False,
        temperature: float = 1.0,
        probe_size: int | Sequence[int] = 64,
        separate_statistics: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(spatial_dims, 1, in_channels=in_channels)
        check_flags(separate_statistics=separate_statistics)
        defaults = (num_clusters, num_heads, kind, normalize, temperature)
        settings = _settings(features, dict(zip(HEAD_SETTINGS, defaults, strict=True)))
        self.dimensions = spatial_dims
        self.separate_statistics = separate_statistics
        self.scales = {name: str(own["scale"]) for name, own in settings.items()}
        self.network = network
        self.heads = nn.ModuleDict()
        shapes = _probe(network, list(settings), in_channels, _sides(probe_size, spatial_dims))
        for name, own in settings.items():
            self.heads[_key(name)] = _head(name, shapes[name], spatial_dims, own)
        weight = next((p for p in network.parameters() if p.is_floating_point()), None)
        if weight is not None:
            self.heads.to(weight.device, weight.dtype)

    def head(self, name: str) -> nn.Module:
        """The heads on the features of that name.

        Raises:
            ValueError: there are none; names those that have.
        """
        if name not in self.scales:
            raise ValueError(f"there are no heads on '{name}', only on {list(self.scales)}")
        return self.heads[_key(name)]

    def forward(
        self,
        images: Tensor,
        parts: Sequence[int] | None = None,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> Any:
        """Give what the network gives or, with ``parts``, logits and assignments of labelled images and of pairs.

        Args:
            images: (B, C, *spatial); with ``parts`` the labelled ones, then unlabelled ones as they are, then the same
                ones moved.
            parts: how many each of these three are: (n, m1, m2).
            view: how the third part was moved, such as a ``SpatialMap``; takes (m1, C, *grid). None: not moved.

        Returns:
            The network's output, or {"labelled": (n, K, *spatial), "first": (m1, K, *spatial), "second":
            (m2, K, *spatial), "clusters": {name: (a, b)}}. first and second are absent where they have no image, and
            clusters is empty where one has none; a are assignments of the features of first, local ones moved by
            ``view`` before, b those of the features of second.

        Raises:
            ValueError: parts that do not fit the images or each other, or a network that gives no tensor.
        """
        if parts is None:
            return self.network(images)
        if isinstance(images, MetaTensor):
            images = images.as_tensor()
        sizes = _parts(parts, len(images))
        _, m1, m2 = sizes
        names = list(self.scales) if m1 and m2 else []
        logits, features = (
            self._separate(images, sizes, names) if self.separate_statistics else self._together(images, sizes, names)
        )
        result: dict[str, Any] = {"labelled": logits[0]}
        result |= {key: part for key, part in (("first", logits[1]), ("second", logits[2])) if len(part)}
        result["clusters"] = {name: self._assign(name, *features[name], view) for name in names}
        return result

    def _together(
        self, images: Tensor, sizes: tuple[int, int, int], names: list[str]
    ) -> tuple[tuple[Tensor, ...], dict[str, tuple[Tensor, Tensor]]]:
        """Logits of the three parts and features of the last two, from one forward."""
        logits, features = self._run(images, names)
        pairs = {name: values.split(sizes)[1:] for name, values in features.items()}
        return logits.split(sizes), {name: (first, second) for name, (first, second) in pairs.items()}

    def _separate(
        self, images: Tensor, sizes: tuple[int, int, int], names: list[str]
    ) -> tuple[tuple[Tensor, ...], dict[str, tuple[Tensor, Tensor]]]:
        """Logits of the three parts and features of the last two, from a forward of each that has images."""
        runs = [
            self._run(part, names if number else []) if len(part) else None
            for number, part in enumerate(images.split(sizes))
        ]
        none = next(run[0] for run in runs if run is not None)[:0]
        logits = tuple(none if run is None else run[0] for run in runs)
        if not names or runs[1] is None or runs[2] is None:
            return logits, {}
        return logits, {name: (runs[1][1][name], runs[2][1][name]) for name in names}

    def _run(self, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """A forward: logits and features."""
        features: dict[str, Tensor] = {}
        if names:
            with FeatureTap(self.network, names) as tap:
                logits = self.network(images)
            features = tap.features
        else:
            logits = self.network(images)
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"network must give one tensor of logits, got a {type(logits).__name__}: switch deep supervision off"
            )
        return logits, features

    def _assign(
        self, name: str, first: Tensor, second: Tensor, view: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Assignments of both parts, of which the first is moved where it has places."""
        if view is not None and self.scales[name] == "local":
            wide = torch.promote_types(first.dtype, torch.float32)  # coordinates in half precision miss voxels
            first = view(first.to(wide)).to(first.dtype)
        head = self.head(name)
        return head(first), head(second)


def _key(name: str) -> str:
    """A name that a ModuleDict takes for a dotted one."""
    key = name.replace(".", "/")
    return f"{key}/" if hasattr(nn.ModuleDict, key) else key


def _settings(features: Any, defaults: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each feature, completed.

    Raises:
        ValueError: what is no mapping, an unknown setting, or a scale that is none.
    """
    if not isinstance(features, Mapping):
        raise ValueError(f"features must map names of modules to settings, got {features!r}")
    known = ("scale", *HEAD_SETTINGS, *LOSS_SETTINGS)
    completed = {}
    for name, own in features.items():
        if not isinstance(own, Mapping):
            raise ValueError(f"features['{name}'] must be settings such as {{'scale': 'local'}}, got {own!r}")
        for key in own:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"features['{name}'] has the unknown setting '{key}'; there are {list(known)}{hint}")
        if own.get("scale") not in SCALES:
            raise ValueError(f"features['{name}']: scale must be one of {list(SCALES)}, got {own.get('scale')!r}")
        completed[name] = defaults | {key: value for key, value in own.items() if key not in LOSS_SETTINGS}
    return completed


def _head(name: str, shape: tuple[int, ...], spatial_dims: int, own: dict[str, Any]) -> ClusterHead:
    """The heads on features of that shape.

    Raises:
        ValueError: features that have no place for them, or a setting out of range; names the feature.
    """
    pooled = own["scale"] == "global"
    if shape[0] != 1 or (len(shape) != spatial_dims + 2 and not (pooled and len(shape) == 2)):
        raise ValueError(
            f"features['{name}']: the module gives {shape} for one image, where (1, channels, {spatial_dims} spatial "
            f"axes) are needed for the scale '{own['scale']}': choose another module"
        )
    try:
        return ClusterHead(shape[1], spatial_dims, pooled=pooled, **{key: own[key] for key in HEAD_SETTINGS})
    except ValueError as error:
        raise ValueError(f"features['{name}']: {error}") from error


def _parts(parts: Any, images: int) -> tuple[int, int, int]:
    """How many images are labelled, first and second.

    Raises:
        ValueError: what is not three whole numbers that add up to the images, or pairs that are incomplete.
    """
    sizes = tuple(parts) if isinstance(parts, Sequence) else ()
    if len(sizes) != 3 or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in sizes):
        raise ValueError(f"parts must be three whole numbers from 0 up (labelled, first, second), got {parts!r}")
    if sum(sizes) != images or not images:
        raise ValueError(f"parts {sizes} add up to {sum(sizes)}, but there are {images} images")
    if sizes[1] and sizes[2] and sizes[1] != sizes[2]:
        raise ValueError(
            f"parts {sizes}: first and second are pairs, as many of each: {sizes[1]} are not {sizes[2]}; give 0 where "
            "there are none"
        )
    return sizes[0], sizes[1], sizes[2]


def _sides(probe_size: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """The sides of the zeros."""
    sides = tuple(probe_size) if isinstance(probe_size, Sequence) else (probe_size,) * spatial_dims
    if len(sides) != spatial_dims or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sides):
        raise ValueError(f"probe_size must be a whole number above 0, or {spatial_dims} of them, got {probe_size!r}")
    return sides


def _probe(
    network: nn.Module, names: list[str], in_channels: int, sides: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the features of one image of zeros; the network stays as it was.

    Raises:
        ValueError: no such module, or a forward that fails.
    """
    if not names:
        return {}
    tap = FeatureTap(network, names)
    weight = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
    zeros = torch.zeros(1, in_channels, *sides, device=weight.device, dtype=weight.dtype)
    modes = {module: module.training for module in network.modules()}
    buffers = {buffer: buffer.detach().clone() for buffer in network.buffers()}
    devices = [weight.device] if weight.device.type == "cuda" else []
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices), tap:
            network(zeros)
    except TapError:
        raise
    except Exception as error:
        raise ValueError(
            f"network fails on zeros of shape {tuple(zeros.shape)}: set probe_size (now {sides}), in_channels and "
            f"spatial_dims to what it takes; it says: {error}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
    return {name: tuple(values.shape) for name, values in tap.features.items()}
