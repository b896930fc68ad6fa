# SPDX-License-Identifier: Apache-2.0
"""The experiments of `benchmarks/run.py`, which differ by nothing but data, bundle and arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from across_arms import across_arms, tried_across
from anatomy_arms import anatomy, anatomy_of_volumes, tried_anatomy, tried_anatomy_of_volumes
from enforcer_arms import MIDDLE_3D, POINT_WEIGHTS, WEIGHTS_3D, enforced, tried, weighed
from network_arms import CHOSEN, TRIED, TRIED_3D, grid
from peer_arms import AS_AUTHORS, BETTER, chosen_peers, peer_arm, tried_peers

Arms = Mapping[str, tuple[tuple[str, ...], dict[str, object]]]
"""Name -> overlays of train.yaml, and settings."""


@dataclass(frozen=True)
class Experiment:
    """What one experiment runs.

    Attributes:
        about: one line.
        arms: what is scored on the test fold.
        tried: what was tried besides on the validation fold.
        bundle: whose configurations are used.
        data: default data set.
        split: file of benchmarks/splits; None: the data set's own test cases.
        weaken: words of the verb ``weaken``, if weak labels are drawn from the dense ones first.
        fit: words of the verb ``bounds``, if bounds are fitted on dense training patients that the run's seed draws;
            arms name the file by ``BOUNDS``.
        also: further scores that the table shows.
        epochs: default number, instead of the overlay's.
        pieces: score the largest piece of each organ too.
        facts: further facts of the runs that the CSV file holds.
        patients: train on so many patients alone, drawn by the run's seed, stratified by group; None: all.
        then: experiments that the same command runs afterwards, with the same options, beside this one's folder.
    """

    about: str
    arms: Arms
    tried: Arms = field(default_factory=dict)
    bundle: str = "acdc_logbarrier"
    data: str = "data/ACDC"
    split: str | None = "acdc40.json"
    weaken: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    epochs: int | None = None
    pieces: bool = False
    facts: tuple[str, ...] = ()
    patients: int | None = None
    then: tuple[str, ...] = ()


WEAKER = {
    "rotation": 15.0,
    "scaling": 0.1,
    "translation": 0.05,
    "affine_probability": 0.5,
    "gamma": 0.4,
    "gain": 0.1,
    "intensity_probability": 0.5,
}
"""The augmentation before, less of it."""
BOUNDS = "{bounds}"
"""Stands in a setting for the file of bounds of the run's seed."""
CPU = ("cpu.yaml",)
BOX = ("box.yaml", "cpu.yaml")
DICE_CE = {"partial_loss#_target_": "wss_monai.losses.PartialDiceCELoss"}
MODES = ("full", "partial", "quadratic", "logbarrier")
POINTS = ("--strategy", "points", "--option", "radius=2", "--background")
"""Words of the verb ``weaken``: a disc of 21 pixels in each class of each slice, background included."""
SPOTS = ("--strategy", "points", "--slice-axis", "none", "--background", "--option", "number=3", "--option", "radius=1")
HIPPOCAMPUS_SLICES: dict[str, object] = {
    "class_names": ["background", "Anterior", "Posterior"],
    "size_bounds": {"Anterior": [20, 600], "Posterior": [20, 600]},
    **grid(1.0, 64),
}
"""A 2D bundle on the slices of the hippocampus; bounds in mm2, which no arm uses."""
NETWORK_FACTS = ("weights", "iterations", "cpu_seconds")
ESTIMATED = {"bounds_from": "estimated", "bounds_file": BOUNDS}
CONSTRAINT_FACTS = (*NETWORK_FACTS, "steps_to_satisfy", "final_violation")
"""See benchmarks/constraint_facts.py."""
ORACLE, CONSTANT = {"bounds_from": "oracle"}, {"bounds_from": "constant"}
NORMAL = {"ED": {"RV": 156, "Myo": 82, "LV": 145}, "ES": {"RV": 70, "Myo": 82, "LV": 59}}
"""ml of healthy adults, the middle of the means of men and women (Petersen et al., JCMR 19:18, 2017, UK Biobank, 45 to
74 years): EDV and ESV of the ventricles, and the mass of the left one over 1.05 g/ml."""
ROUND = {"ED": {"RV": 150, "Myo": 120, "LV": 140}, "ES": {"RV": 70, "Myo": 120, "LV": 60}}
"""ml, round, by somebody who had seen the medians of this data set."""


def stated(sizes: Mapping[str, object]) -> dict[str, object]:
    """Settings for stated sizes of the set."""
    return {"set_size": "stated", "stated_sizes": str(sizes)}


def times(factor: float, sizes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """All sizes times a factor."""
    return {phase: {name: round(factor * ml, 1) for name, ml in each.items()} for phase, each in sizes.items()}


def pseudo_arms() -> Arms:
    """Pseudo-labels beside partial supervision, the log-barrier and full supervision."""
    estimated = {"bounds_file": BOUNDS}
    settings: dict[str, dict[str, object]] = {
        "full": {"mode": "full"},
        "partial": {"mode": "partial"},
        "logbarrier": {"mode": "logbarrier", "bounds_from": "estimated", **estimated},
        "pseudo": {"mode": "pseudo"},
        "pseudo_estimated": {"mode": "pseudo", "set_size": "estimated", **estimated},
        "pseudo_normal": {"mode": "pseudo", **stated(NORMAL)},
        "pseudo_round": {"mode": "pseudo", **stated(ROUND)},
        "pseudo_round0.7": {"mode": "pseudo", **stated(times(0.7, ROUND))},
        "pseudo_round1.4": {"mode": "pseudo", **stated(times(1.4, ROUND))},
        "partial_dense5": {"mode": "partial", "dense": 5},
        "pseudo_dense5": {"mode": "pseudo", "dense": 5},
    }
    return {name: (CPU, each) for name, each in settings.items()}


def peers(ours: tuple[str, ...], other: tuple[str, ...]) -> Arms:
    """Baselines, the methods of scribble papers (those in ``other`` with their other settings), and ours, by name."""
    all_of_ours = pseudo_arms()
    dice = {"partial_dice_ce": (CPU, {"mode": "partial", **DICE_CE})}
    first = {name: all_of_ours[name] for name in ours if name in ("full", "partial")}
    return {**first, **dice, **chosen_peers(other), **{name: all_of_ours[name] for name in ours if name not in first}}


def size_arms(sizes: Mapping[str, object], common: Mapping[str, object] | None = None) -> Arms:
    """Full and partial supervision, and pseudo-labels without sizes, with estimated and with stated ones."""
    settings: dict[str, dict[str, object]] = {
        "full": {"mode": "full"},
        "partial": {"mode": "partial"},
        "pseudo": {"mode": "pseudo"},
        "pseudo_estimated": {"mode": "pseudo", "set_size": "estimated", "bounds_file": BOUNDS},
        "pseudo_stated": {"mode": "pseudo", **sizes},
    }
    return {name: (CPU, {**(common or {}), **each}) for name, each in settings.items()}


def tried_pseudo(first: str = "pseudo", **common: object) -> Arms:
    """What else was tried of pseudo-labels: arms named ``<first>_<change>``, with common settings."""
    settings: dict[str, dict[str, object]] = {
        "average": {"scored": "average"},
        "w1": {"pseudo_weight": 1.0},
        "w2": {"pseudo_weight": 2.0},
        "soon": {"pseudo_start": 0.05, "pseudo_ramp": 0.05},
        "slow": {"average_decay": 0.997},
        "one": {"pseudo_pieces": "one"},
        "decoder": {"pseudo_teacher": "decoder"},
    }
    arms: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
        f"{first}_{name}": (CPU, {"mode": "pseudo", **common, **each}) for name, each in settings.items()
    }
    arms[f"{first}_far"] = ((*CPU, "far_background.yaml"), {"mode": "pseudo", **common, "far_mm": 40})
    for mode in ("full", "partial", "pseudo"):
        changed = {f"train#augment#{name}": value for name, value in WEAKER.items()}
        arms[f"{first if mode == 'pseudo' else mode}_weaker"] = (
            CPU,
            {"mode": mode, **(common if mode == "pseudo" else {}), **changed},
        )
    return arms


def size_weights(**tried: tuple[float, ...]) -> Arms:
    """Arms named ``<mode>_w<weight>``, with that weight of the size."""
    return {
        f"{mode}_w{weight}": (CPU, {"mode": mode, f"size_weight#{mode}": weight})
        for mode, weights in tried.items()
        for weight in weights
    }


def tried_sizes() -> Arms:
    """Weights of the tutorials' size loss, with its published divisor and relative to the bounds."""
    out: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {}
    for origin in (ORACLE, CONSTANT):
        name, mode = f"constrained_{origin['bounds_from']}", {"mode": "constrained", **origin}
        for weight in (0.001, 0.1):
            out[f"{name}_w{weight}"] = (CPU, {**mode, "size_weight": weight})
        for weight in (0.1, 1.0):
            out[f"{name}_relative_w{weight}"] = (CPU, {**mode, "published": False, "size_weight": weight})
    return out


def box_weights(penalty: str, **terms: float) -> dict[str, object]:
    """Settings for the weights of a penalty on boxes."""
    return {"box_penalty": penalty, **{f"box_weights#{penalty}#{term}": value for term, value in terms.items()}}


def tried_boxes() -> Arms:
    """Weights of tightness, box size and emptiness, by penalty."""
    tried = {
        "logbarrier": ((0.01, 0.01, 0.01), (0.01, 0.1, 0.01), (0.1, 0.1, 0.1), (0.01, 0.3, 0.03), (0.003, 0.03, 0.003)),
        "quadratic": ((0.3, 3.0, 1.0), (1.0, 10.0, 1.0), (0.3, 0.3, 0.3)),
    }
    return {
        f"{penalty}_{a}_{b}_{c}": (BOX, box_weights(penalty, tightness=a, size=b, outside=c))
        for penalty, each in tried.items()
        for a, b, c in each
    }


ON_POINTS: dict[str, dict[str, object]] = {
    "logbarrier": {"mode": "logbarrier", "bounds_from": "estimated", "bounds_file": BOUNDS},
    "pseudo": {"mode": "pseudo", **stated(NORMAL)},
}
"""What statements on anatomy are added to."""


EXPERIMENTS: dict[str, Experiment] = {
    "acdc": Experiment(
        about="real ACDC scribbles: what constraints on size add",
        arms={
            "full": (CPU, {"mode": "full"}),
            "partial": (CPU, {"mode": "partial"}),
            "partial_dice_ce": (CPU, {"mode": "partial", **DICE_CE}),
            "quadratic": (CPU, {"mode": "quadratic"}),
            "logbarrier": (CPU, {"mode": "logbarrier"}),
            "logbarrier_tags": (CPU, {"mode": "logbarrier", "bounds_from": "tag"}),
            "logbarrier_volume": ((*CPU, "volume_bounds.yaml"), {"mode": "logbarrier"}),
            "logbarrier_oracle": (CPU, {"mode": "logbarrier", **ORACLE}),
        },
        tried=size_weights(quadratic=(0.1, 0.3, 1.0), logbarrier=(0.001, 0.003, 0.01, 0.03, 0.1)),
    ),
    "acdc_size": Experiment(
        about="the tutorials' size loss on blobs of at most 21 pixels of each class in each slice of ACDC",
        arms={
            "full": (CPU, {"mode": "full"}),
            "unconstrained": (CPU, {"mode": "unconstrained"}),
            "constrained_oracle": (CPU, {"mode": "constrained", **ORACLE}),
            "constrained_constant": (CPU, {"mode": "constrained", **CONSTANT}),
        },
        tried=tried_sizes(),
        bundle="acdc_size",
        weaken=("--strategy", "random_blob", "--option", "width=5"),
        also=("slice_dice", "slice_dice_shown"),
    ),
    "acdc_box": Experiment(
        about="boxes around each class in each slice of ACDC: with tightness, without, and taken for the organs",
        arms={
            "box": (BOX, {}),
            "box_without_tightness": (BOX, box_weights("logbarrier", tightness=0)),
            "filled_boxes": (BOX, {"mode": "partial", "box_filled": True}),
        },
        tried=tried_boxes(),
        weaken=("--strategy", "box"),
    ),
    "acdc_pseudo": Experiment(
        about="pseudo-labels of a mixture of student and teacher on the scribbles of ACDC",
        arms=pseudo_arms(),
        tried=tried_pseudo(),
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "acdc_collapse": Experiment(
        about="how often a mode collapses: ten seeds with a short budget, on the scribbles of ACDC",
        arms={name: pseudo_arms()[name] for name in ("partial", "logbarrier", "pseudo")},
        fit=("--dense", "5", "--terms", "size"),
        epochs=8,
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "acdc_pseudo_points": Experiment(
        about="the same on a disc of 21 pixels in each class of each slice of ACDC, background included",
        arms=pseudo_arms(),
        tried=tried_pseudo("pseudo_normal", **stated(NORMAL)),
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "anatomy_across": Experiment(
        about="equal volumes of the myocardium in ED and ES, and smooth areas, on a disc in each class of each slice",
        arms=across_arms(ON_POINTS),
        tried=tried_across(ON_POINTS),
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "peers": Experiment(
        about="the methods of scribble papers beside ours on the scribbles of ACDC, then the same on points",
        arms={
            **peers(("full", "partial", "logbarrier", "pseudo", "pseudo_estimated", "pseudo_dense5"), BETTER),
            "dual_decoder_published": peer_arm("dual_decoder", AS_AUTHORS),
        },
        tried=tried_peers(),
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
        then=("peers_points",),
    ),
    "peers_points": Experiment(
        about="the methods of scribble papers beside ours on a disc of 21 pixels in each class of each slice of ACDC",
        arms=peers(("partial", "logbarrier", "pseudo", "pseudo_estimated", "pseudo_normal", "pseudo_dense5"), BETTER),
        tried=tried_peers(),
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "enforcers": Experiment(
        about="penalties, the barrier and duality on the same bounds, on the scribbles of ACDC",
        arms={
            "partial": (CPU, {"mode": "partial"}),
            **enforced({"constant": CONSTANT, "estimated": ESTIMATED, "oracle": ORACLE}),
        },
        tried=tried({"estimated": ESTIMATED}),
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=CONSTRAINT_FACTS,
    ),
    "enforcers_points": Experiment(
        about="the same on a disc of 21 pixels in each class of each slice of ACDC, background included",
        arms={
            "partial": (CPU, {"mode": "partial"}),
            **enforced({"estimated": ESTIMATED}),
            **weighed({"estimated": ESTIMATED}, POINT_WEIGHTS),
        },
        tried=tried({"estimated": ESTIMATED}),
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=CONSTRAINT_FACTS,
    ),
    "enforcers_hippocampus": Experiment(
        about="the same on volumes of the hippocampus with a few spots each, in 3D",
        arms={
            "partial": (CPU, {"mode": "partial"}),
            **enforced({"constant": CONSTANT}, weights=MIDDLE_3D),
            **weighed({"constant": CONSTANT}, WEIGHTS_3D),
        },
        tried=tried({"constant": CONSTANT}, MIDDLE_3D),
        bundle="hippocampus_logbarrier",
        data="data/HIPPOCAMPUS_POINTS",
        split="hippocampus40.json",
        facts=CONSTRAINT_FACTS,
    ),
    "anatomy": Experiment(
        about="what statements on anatomy add on a disc of 21 pixels in each class of each slice of ACDC",
        arms=anatomy(ON_POINTS),
        tried=tried_anatomy("pseudo", **stated(NORMAL)),
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "anatomy_few": Experiment(
        about="the same on the scribbles of 5 patients of ACDC, in as many iterations as with 32",
        arms=anatomy({"pseudo": {"mode": "pseudo"}, "logbarrier": {"mode": "logbarrier"}}, epoch_iterations=79),
        pieces=True,
        facts=NETWORK_FACTS,
        patients=5,
    ),
    "anatomy_volume": Experiment(
        about="the same on volumes of the hippocampus with a few spots each, in 3D",
        arms=anatomy_of_volumes("constrained"),
        tried=tried_anatomy_of_volumes("constrained"),
        bundle="hippocampus_logbarrier",
        data="data/HIPPOCAMPUS_POINTS",
        split="hippocampus40.json",
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "hippocampus": Experiment(
        about="the hippocampus in 3D from a few spots a volume (weaken them first, see docs/results/hippocampus.md)",
        arms={mode: (CPU, {"mode": mode}) for mode in MODES},
        tried=size_weights(quadratic=(1.0, 3.0, 10.0), logbarrier=(0.03,)),
        bundle="hippocampus_logbarrier",
        data="data/HIPPOCAMPUS_POINTS",
        split="hippocampus40.json",
    ),
    "networks": Experiment(
        about="networks of MONAI at the same CPU seconds, on real ACDC scribbles and on their dense masks",
        arms=CHOSEN,
        tried=TRIED,
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "networks_3d": Experiment(
        about="the same in 3D, on the hippocampus from a few spots a volume and from dense masks",
        arms={},
        tried=TRIED_3D,
        bundle="hippocampus_logbarrier",
        data="data/HIPPOCAMPUS",
        split="hippocampus40.json",
        weaken=SPOTS,
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "hippocampus_pseudo": Experiment(
        about="the same with pseudo-labels, and sizes of the set: stated as half of 3.5 ml a part, or estimated",
        arms={
            **{mode: (CPU, {"mode": mode}) for mode in ("full", "partial", "logbarrier", "pseudo")},
            "pseudo_stated": (CPU, {"mode": "pseudo", **stated({"Anterior": 1.75, "Posterior": 1.75})}),
            "pseudo_estimated": (CPU, {"mode": "pseudo", "set_size": "estimated", "bounds_file": BOUNDS}),
        },
        bundle="hippocampus_logbarrier",
        data="data/HIPPOCAMPUS_POINTS",
        split="hippocampus40.json",
        fit=("--dense", "5", "--terms", "volume"),
    ),
    "hippocampus_slices": Experiment(
        about="slices of the hippocampus from a disc of 5 pixels a class and slice; stated: half of 3.5 ml a part",
        arms=size_arms(stated({"Anterior": 1.75, "Posterior": 1.75}), HIPPOCAMPUS_SLICES),
        data="data/HIPPOCAMPUS",
        split="hippocampus40.json",
        weaken=("--strategy", "points", "--option", "radius=1", "--background"),
        fit=("--dense", "5", "--terms", "size"),
        epochs=6,
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "prostate_phantom": Experiment(
        about="generated prostates from a disc of 21 pixels in each slice; size stated as 50 ml, fixed beforehand",
        arms=size_arms(stated({"prostate": 50})),
        bundle="promise12_logbarrier",
        data="data/PROSTATE_PHANTOM",
        split="prostate_phantom40.json",
        weaken=POINTS,
        fit=("--dense", "5", "--terms", "size"),
        pieces=True,
        facts=NETWORK_FACTS,
    ),
    "phantom": Experiment(
        about="generated hearts, the data set's own test patients",
        arms={mode: (CPU, {"mode": mode}) for mode in MODES},
        data="data/PHANTOM",
        split=None,
        epochs=20,
    ),
}
