# SPDX-License-Identifier: Apache-2.0
"""The methods of scribble papers, on network, budget and augmentation of ours, for `benchmarks/run.py peers`.

To add one: a loss (``wss_monai.losses``) or whatever else it needs, a mode in
bundles/acdc_logbarrier/source/peers.yaml, and here its published settings and one other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PUBLISHED: dict[str, dict[str, object]] = {
    "entropy": {"entropy_weight": 0.072},
    "total_variation": {"variation_weight": 0.01},
    "mumford_shah": {"mumford_shah_weight": 0.79},
    "gated_crf": {"crf_weight": 0.1},
    "uncertain_teacher": {"teacher_weight": 0.1},
    "averaged_predictions": {"averaged_decay": 0.2},
    "dual_decoder": {"dual_weight": 0.5},
    "random_walker": {"walker_lacking": "background"},
}
"""Mode -> what the papers say, see bundles/acdc_logbarrier/source/peers.yaml for the units."""
OTHER: dict[str, dict[str, object]] = {
    "entropy": {"entropy_weight": 0.3},
    "total_variation": {"variation_weight": 1.0},
    "mumford_shah": {"mumford_shah_weight": 0.1},
    "gated_crf": {"crf_weight": 0.01},
    "uncertain_teacher": {"teacher_weight": 5.0},
    "averaged_predictions": {"averaged_decay": 0.5},
    "dual_decoder": {"dual_weight": 0.1},
    "random_walker": {"walker_lacking": "drawn"},
}
"""Mode -> the other setting that was tried on the validation fold."""

BETTER = ("dual_decoder", "gated_crf", "mumford_shah", "random_walker", "total_variation")
"""Those whose other setting was the better one on fold 2, from scribbles, seed 0 (docs/results/log/peers.md)."""

AS_AUTHORS = {"dual_weight": 0.5, "partial_loss#per_sample": False}
"""DMPLS with the loss of its authors' code to the last digit, to stand beside benchmarks/authors_dmpls.py."""


def peer_arm(mode: str, settings: Mapping[str, object]) -> tuple[tuple[str, ...], dict[str, object]]:
    """Overlays and settings of a method."""
    if mode == "random_walker":
        return ("cpu.yaml", "random_walker.yaml"), {"mode": "partial", **settings}
    return ("cpu.yaml", "peers.yaml"), {"mode": mode, **settings}


def tried_peers() -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """Both settings of each method, named ``<mode>`` and ``<mode>_other``."""
    both = {mode: peer_arm(mode, settings) for mode, settings in PUBLISHED.items()}
    return both | {f"{mode}_other": peer_arm(mode, settings) for mode, settings in OTHER.items()}


def chosen_peers(other: Sequence[str] = ()) -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """Each method with its published settings, those in ``other`` with the other ones."""
    return {mode: peer_arm(mode, (OTHER if mode in other else PUBLISHED)[mode]) for mode in PUBLISHED}
