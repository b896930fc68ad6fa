# SPDX-License-Identifier: Apache-2.0
"""The networks that `benchmarks/run.py networks` compares, each with the epochs that take the same CPU seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = dict[str, object]
Arms = Mapping[str, tuple[tuple[str, ...], Settings]]

CPU = ("cpu.yaml",)
CHANNELS_LAST = {"memory_format": "$torch.channels_last"}
TURNED: Settings = {"train#augment#flips": [0, 1], "train#augment#turns": [0, 1]}
UPRIGHT: Settings = {"train#augment#flips": [], "train#augment#turns": None}


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


def arms(modes: Sequence[str] = ("full", "partial"), **networks: tuple[int, Settings]) -> Arms:
    """Arms ``<network>_<mode>``: epochs and settings of each network, without flips and turns unless they say so."""
    out: dict[str, tuple[tuple[str, ...], Settings]] = {}
    for name, (epochs, settings) in networks.items():
        for mode in modes:
            named = {key.replace("{mode}", mode): value for key, value in settings.items()}
            own = {
                "mode": mode,
                "train#trainer#max_epochs": epochs,
                "val_interval": epochs + 1,
                **CHANNELS_LAST,
                **UPRIGHT,
                **named,
            }
            out[f"{name}_{mode}"] = (CPU, own)
    return out


INSTANCE = ["instance", {"affine": True}]
TODAY, PLAIN, DYNAMIC = unet((8, 16, 32, 64), (2, 2, 2)), (8, 16, 32, 64, 64, 8), (8, 16, 32, 64, 64)
COARSE: Settings = {"pixdim": [2.0, 2.0, -1.0], "crop": [96, 96, -1], "field": [96, 96, -1], "window": [96, 96]}

TRIED = arms(
    unet=(15, TODAY),
    unet_full_resolution=(7, unet((8, 16, 32, 64, 64), (1, 2, 2, 2))),
    unet_wide=(11, unet((16, 32, 64, 128), (2, 2, 2))),
    basic8=(8, basic(PLAIN)),
    basic16=(6, basic((16, 16, 32, 64, 64, 16))),
    basic8_2mm=(14, {**basic(PLAIN), **COARSE}),
    basic8_instance=(7, basic(PLAIN, INSTANCE)),
    basic8_turned=(8, {**basic(PLAIN), **TURNED}),
    dyn8=(8, dynamic(DYNAMIC)),
    dyn8_2mm=(14, {**dynamic(DYNAMIC), **COARSE}),
    dyn8_deep=(7, dynamic(DYNAMIC, heads=2)),
    dyn8_instance=(7, dynamic(DYNAMIC, norm_name=INSTANCE)),
    dyn8_turned=(8, {**dynamic(DYNAMIC), **TURNED}),
    segres8=(8, network("SegResNet", init_filters=8, norm="batch", upsample_mode="nontrainable")),
    flexible10=(5, network("FlexibleUNet", backbone="resnet10", decoder_channels=[64, 32, 16, 16, 8])),
)

VOLUMES = {"memory_format": "$torch.channels_last_3d"}
TRIED_3D = arms(
    unet=(32, VOLUMES | network("UNet", 3, channels=[8, 16, 32], strides=[2, 2], num_res_units=1)),
    dyn4=(15, VOLUMES | dynamic((4, 16, 32, 64), spatial_dims=3)),
    basic4=(16, VOLUMES | basic((4, 8, 16, 32, 32, 4), spatial_dims=3, upsample="deconv")),
    dyn4_instance=(15, VOLUMES | dynamic((4, 16, 32, 64), spatial_dims=3, norm_name=INSTANCE)),
    dyn4_mirrored=(15, VOLUMES | dynamic((4, 16, 32, 64), spatial_dims=3) | {"train#augment#flips": [0]}),
)
