# SPDX-License-Identifier: Apache-2.0
"""The networks that `benchmarks/run.py networks` compares, each with the epochs that take the same CPU seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Settings = dict[str, object]
Arms = Mapping[str, tuple[tuple[str, ...], Settings]]

CPU = ("cpu.yaml",)
CHANNELS_LAST = {"memory_format": "$torch.channels_last"}
TURNED: Settings = {"train#augment#flips": [0, 1], "train#augment#turns": [0, 1]}
UPRIGHT: Settings = {"train#augment#flips": [], "train#augment#turns": None}


def network(name: str, spatial_dims: int = 2, **settings: object) -> Settings:
    """A network of MONAI as the bundle's ``network_def``."""
    shape = {"spatial_dims": spatial_dims, "in_channels": 1, "out_channels": "$len(@class_names)"}
    return {"network_def": {"_target_": name, **shape, **settings}}


def unet(channels: Sequence[int], strides: Sequence[int], **settings: object) -> Settings:
    """MONAI's U-Net of residual units with strided convolutions."""
    return network("UNet", channels=list(channels), strides=list(strides), num_res_units=1, **settings)


def basic(features: Sequence[int], norm: object = "batch", **settings: object) -> Settings:
    """MONAI's plain U-Net: two convolutions a level, max-pooling, linear up-sampling."""
    words = {"act": "relu", "norm": norm, "upsample": "nontrainable", **settings}
    return network("BasicUNet", features=list(features), **words)


def dynamic(filters: Sequence[int], heads: int = 0, **settings: object) -> Settings:
    """MONAI's DynUNet, its first level at full resolution; ``heads`` further outputs are supervised."""
    strides = [1] + [2] * (len(filters) - 1)
    words: Settings = {"kernel_size": [3] * len(filters), "strides": strides, "upsample_kernel_size": strides[1:]}
    if heads:
        words |= {"deep_supervision": True, "deep_supr_num": heads}
    made = network("DynUNet", filters=list(filters), **{"norm_name": "batch", **words, **settings})
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
TODAY, PLAIN = unet((8, 16, 32, 64), (2, 2, 2)), (8, 16, 32, 64, 64, 8)
COARSE: Settings = {"pixdim": [2.0, 2.0, -1.0], "crop": [96, 96, -1], "field": [96, 96, -1], "window": [96, 96]}

TRIED = arms(
    unet=(15, TODAY),
    basic8=(8, basic(PLAIN)),
    dyn8=(8, dynamic((8, 16, 32, 64, 64))),
    unet_full_resolution=(7, unet((8, 16, 32, 64, 64), (1, 2, 2, 2))),
    basic8_2mm=(14, {**basic(PLAIN), **COARSE}),
    dyn8_deep=(7, dynamic((8, 16, 32, 64, 64), heads=2)),
    segres8=(8, network("SegResNet", init_filters=8, norm="batch", upsample_mode="nontrainable")),
    basic16=(6, basic((16, 16, 32, 64, 64, 16))),
    unet_wide=(11, unet((16, 32, 64, 128), (2, 2, 2))),
    flexible10=(5, network("FlexibleUNet", backbone="resnet10", decoder_channels=[64, 32, 16, 16, 8])),
)
