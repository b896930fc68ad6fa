# SPDX-License-Identifier: Apache-2.0
"""The networks that `benchmarks/run.py networks` compares, each with the epochs that take the same CPU seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = dict[str, object]
Arms = Mapping[str, tuple[tuple[str, ...], Settings]]

CPU = ("cpu.yaml",)
TURNED: Settings = {"train#augment#turns": [0, 1]}
UPRIGHT: Settings = {"train#augment#flips": [], "train#augment#turns": "$None"}


def network(name: str, spatial_dims: int = 2, **settings: Any) -> Settings:
    """A network of MONAI as the bundle's ``network_def``."""
    shape = {"spatial_dims": spatial_dims, "in_channels": 1, "out_channels": "$len(@class_names)"}
    return {"network_def": {"_target_": name, **shape, **settings}}


def unet(channels: Sequence[int], strides: Sequence[int], **settings: object) -> Settings:
    """MONAI's U-Net of residual units with strided convolutions."""
    return network("UNet", channels=list(channels), strides=list(strides), num_res_units=1, **settings)


def basic(features: Sequence[int], norm: object = "batch", **settings: Any) -> Settings:
    """MONAI's plain U-Net: two convolutions a level, max-pooling, linear up-sampling."""
    words: dict[str, Any] = {"act": "relu", "norm": norm, "upsample": "nontrainable", **settings}
    return network("BasicUNet", features=list(features), **words)


def dynamic(filters: Sequence[int], heads: int = 0, **settings: Any) -> Settings:
    """MONAI's DynUNet, its first level at full resolution; ``heads`` further outputs are supervised."""
    strides = [1] + [2] * (len(filters) - 1)
    words: dict[str, Any] = {
        "norm_name": "batch",
        "kernel_size": [3] * len(filters),
        "strides": strides,
        "upsample_kernel_size": strides[1:],
    }
    if heads:
        words |= {"deep_supervision": True, "deep_supr_num": heads}
    made = network("DynUNet", filters=list(filters), **{**words, **settings})
    return made | ({"loss#choices#{mode}#_target_": "benchmarks.deep_supervision.DeepSupervision"} if heads else {})


def grid(millimetres: float, pixels: int) -> Settings:
    """The central pixels of a slice, and their size."""
    square = [pixels, pixels]
    cut = [*square, -1]
    return {"pixdim": [millimetres, millimetres, -1.0], "crop": cut, "field": cut, "window": square}


def arms(always: Settings, **networks: tuple[int, Settings]) -> Arms:
    """Arms ``<network>_<mode>``: epochs and settings of each network, without flips and turns unless they say so."""
    out: dict[str, tuple[tuple[str, ...], Settings]] = {}
    for name, (epochs, settings) in networks.items():
        for mode in ("full", "partial"):
            named = {key.replace("{mode}", mode): value for key, value in settings.items()}
            own = {
                "mode": mode,
                "train#trainer#max_epochs": epochs,
                "val_interval": epochs + 1,
                **always,
                **UPRIGHT,
                **named,
            }
            out[f"{name}_{mode}"] = (CPU, own)
    return out


INSTANCE = ["instance", {"affine": True}]
TODAY, PLAIN, DYNAMIC = unet((8, 16, 32, 64), (2, 2, 2)), (8, 16, 32, 64, 64, 8), (8, 16, 32, 64, 64)
FINE: Settings = {"memory_format": "$torch.channels_last", **grid(1.5, 128)}
COARSE = grid(2.0, 96)

TRIED = arms(
    FINE,
    unet=(15, TODAY),
    unet_full_resolution=(7, unet((8, 16, 32, 64, 64), (1, 2, 2, 2))),
    basic8=(8, basic(PLAIN)),
    basic16=(6, basic((16, 16, 32, 64, 64, 16))),
    basic8_2mm=(14, {**basic(PLAIN), **COARSE}),
    basic8_instance=(7, basic(PLAIN, INSTANCE)),
    unet_2mm=(26, {**TODAY, **COARSE}),
    unet_turned=(15, {**TODAY, **TURNED}),
    unet_full_resolution_turned=(7, {**unet((8, 16, 32, 64, 64), (1, 2, 2, 2)), **TURNED}),
    basic8_turned=(8, {**basic(PLAIN), **TURNED}),
    basic8_2mm_flipped=(14, {**basic(PLAIN), **COARSE, "train#augment#flips": [0, 1]}),
    basic8_2mm_turned=(14, {**basic(PLAIN), **COARSE, **TURNED}),
    dyn8_turned=(8, {**dynamic(DYNAMIC), **TURNED}),
    dyn8=(8, dynamic(DYNAMIC)),
    dyn8_deep=(7, dynamic(DYNAMIC, heads=2)),
    segres8=(8, network("SegResNet", init_filters=8, norm="batch", upsample_mode="nontrainable")),
)

CHOSEN = {name: arm for name, arm in TRIED.items() if name in ("basic8_2mm_full", "basic8_2mm_partial")}

TODAY_3D = network("UNet", 3, channels=[8, 16, 32], strides=[2, 2], num_res_units=1)
TRIED_3D = arms(
    {"memory_format": "$torch.channels_last_3d"},
    unet=(32, TODAY_3D),
    basic4=(16, basic((4, 8, 16, 32, 32, 4), spatial_dims=3)),
    unet_mirrored=(32, TODAY_3D | {"train#augment#flips": [0]}),
)
