# SPDX-License-Identifier: Apache-2.0
"""Published protocols on ACDC: patients, preparation, network, budget and metric as others report them.

A protocol has parts (folds, or numbers of labelled patients), each with a split file of benchmarks/splits. What runs
them is benchmarks/run_protocol.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments import Arms
from grid import ROOT

SPLITS, OVERLAYS = ROOT / "benchmarks" / "splits", ROOT / "benchmarks" / "overlays"
SQUEEZED = tuple(str(OVERLAYS / f"{name}.yaml") for name in ("squeezed", "sgd_poly", "squeezed_evaluate"))
THEIR_NETWORK = {"_target_": "benchmarks.wsl4mis.WSL4MISUNet", "out_channels": "$len(@class_names)"}
THEIR_NETWORK |= {"in_channels": 1, "spatial_dims": 2, "features": [16, 32, 64, 128, 256]}
Settings = Mapping[str, object]


@dataclass(frozen=True)
class Protocol:
    """What a protocol fixes.

    Attributes:
        about: one line.
        source: paper and code.
        parts: name -> (split file, settings of that part alone).
        settings: of all runs.
        metric: what is reported, over what.
        differs: where this is not as published.
        overlays: files that take the place of cpu.yaml.
        rates: arm -> learning rate, where it is not the one of the settings.
        bundle: whose configurations are used.
        arms: instead of the experiment's; None: those.
        weaken: words of the verb ``weaken``, if weak labels are drawn.
        folds: the parts are folds, whose mean is reported.
    """

    about: str
    source: str
    parts: Mapping[str, tuple[str, Settings]]
    settings: Settings
    metric: str
    differs: tuple[str, ...]
    overlays: tuple[str, ...] = SQUEEZED
    rates: Settings = field(default_factory=dict)
    bundle: str = "acdc_logbarrier"
    arms: Arms | None = None
    weaken: tuple[str, ...] = ()
    folds: bool = False


SQUEEZE = (
    "slices are squeezed by the edges of their pixels, there by the centres of the outermost ones: less than a pixel",
    "rotated images are interpolated linearly, there to the nearest pixel",
    "on a GPU in mixed precision, losses in float32",
)
VOLUMES = (
    "Dice and HD95 (medpy's in column hd95_medpy) of whole volumes on their own grid, mean of volumes, then classes"
)
RECIPE: Settings = {
    "network_def": THEIR_NETWORK,
    "epoch_iterations": 200,
    "learning_rate": 0.01,
}
MEAN_TEACHER: dict[str, object] = {
    "consistency_weight#meanteacher": 0.1,
    "ramp": 1.0,
    "average_decay": 0.99,
    "flip_probability": 0.0,
    "scored": "student",
}
SEMI: Arms = {
    "partial": ((), {"mode": "partial"}),
    "meanteacher": ((), {"mode": "meanteacher", **MEAN_TEACHER}),
    "uda": ((), {"mode": "uda"}),
    "udaiic": ((), {"mode": "udaiic"}),
    "full": ((), {"mode": "partial", "labelled": "all"}),
}

PROTOCOLS: dict[str, Protocol] = {
    "wsl4mis": Protocol(
        about="five folds, each of which leaves one pathology out; 256 x 256, U-Net of 1.8 million weights",
        source="Luo et al., MICCAI 2022, arXiv 2203.02106; https://github.com/HiLab-git/WSL4MIS, code/train_wss.sh",
        parts={f"fold{k}": ("wsl4mis_acdc.json", {"fold": f"fold{k}"}) for k in range(1, 6)},
        settings={**RECIPE, "batch_size": 12, "iterations": 60_000, "partial_loss#per_sample": False, "validation": 0},
        rates={"partial": 0.03, "full": 0.03},
        metric=f"{VOLUMES}, then folds; last weights, no post-processing",
        differs=(*SQUEEZE, "nothing is validated, there every 200 iterations on the test fold, without consequence"),
        folds=True,
    ),
    "maag": Protocol(
        about="35 or 70 patients train, 15 validate, 15 test; the recipe of WSL4MIS with half of its iterations",
        source="lists: Valvano et al., IEEE TMI 2021; recipe: the re-runs of https://github.com/loc110504/SDTNet "
        "(code/train/train_dmpls_acdc.py: batch 8, 30 000 iterations)",
        parts={number: (f"maag{number}_acdc.json", {}) for number in ("35", "70")},
        settings={**RECIPE, "batch_size": 8, "iterations": 30_000, "partial_loss#per_sample": False},
        rates={"partial": 0.03, "full": 0.03},
        metric=f"{VOLUMES}; last weights",
        differs=(
            *SQUEEZE,
            "last weights; most who report on this split take the best ones of the validation patients",
            "scribbles are those that are given: MAAG's own cover far more background than WSL4MIS', so say which",
        ),
    ),
    "ssl4mis": Protocol(
        about="3 or 7 densely labelled patients, 67 or 63 without labels, 10 validate, 20 test; 256 x 256",
        source="https://github.com/HiLab-git/SSL4MIS, code/train_mean_teacher_2D.py",
        parts={number: ("ssl4mis_acdc.json", {"labelled": int(number)}) for number in ("3", "7")},
        settings={
            **RECIPE,
            "labelled_batch": 12,
            "unlabelled_batch": 12,
            "iterations": 30_000,
            "supervised": [{"_target_": "wss_monai.losses.PartialDiceCELoss"}, 0.5],
        },
        metric=f"{VOLUMES}; last weights",
        differs=(
            *SQUEEZE,
            "last weights, there the best ones of the validation patients; HD95 there in voxels",
            "meanteacher: no noise in the teacher's images, and its weight rises linearly from the first iteration",
            "uda, udaiic: weights, views and heads of the bundle, at this learning rate",
        ),
        bundle="acdc_mutual_information",
        arms=SEMI,
    ),
    "scribblebench": Protocol(
        about="the official 100 training and 50 test patients; interior and border scribbles drawn in every slice",
        source="Gotkowski et al., MICCAI 2025, arXiv 2403.12834v2",
        parts={"official": ("scribblebench_acdc.json", {})},
        settings={"validation": 0, "epoch_iterations": 200, "iterations": 250_000},
        metric=f"{VOLUMES}; last weights",
        differs=(
            "the 2D network, augmentation and optimiser of the bundle, there nnU-Net; as many iterations (1000 x 250)",
            "scribbles of `weaken --strategy scribble`, made in the same sense but not by the same program",
        ),
        overlays=(),
        weaken=("--strategy", "scribble", "--background"),
    ),
}
