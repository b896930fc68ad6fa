# SPDX-License-Identifier: Apache-2.0
"""What the columns of metrics.csv are called in figures, in which range they lie, and what a reader should know."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["curve_axis", "curve_note", "curve_title"]

TITLES = {
    "loss": "Loss (weighted sum of its terms)",
    "loss_partial": "Loss on drawn voxels (cross-entropy)",
    "loss_size": "Cost of the size constraint, before its weight",
    "loss_dense": "Loss on dense masks",
    "loss_pseudo": "Loss on pseudo-labels (Dice and cross-entropy), before its weight",
    "lr": "Learning rate",
    "t": "Sharpness t of the log-barrier",
    "train_dice": "Dice of training batches",
    "size_difference": "Predicted − true size (voxels)",
    "size_difference_abs": "Absolute size difference (voxels)",
    "pseudo_removed": "Pseudo-labels removed (share of voxels)",
    "val_score": "Score that chooses model_best.pt",
    "val_partial_ce": "Cross-entropy on drawn voxels",
    "val_constraint_satisfaction": "Share of measures inside their bounds",
    "val_dice": "Dice, mean of the classes",
    "val_size_difference": "Predicted − true size (voxels)",
}
NOTES = {
    "loss": "What the optimiser minimises. Where t or the weight of a term rises, it can rise as the network learns.",
    "loss_partial": "How badly the drawn voxels of the training patients are predicted; it should fall.",
    "loss_dense": "How badly the masks of the training patients are predicted; it should fall.",
    "loss_pseudo": "0 until pseudo-labels start; they come from the network itself, so it falls as they agree with it.",
    "pseudo_removed": "Where a piece is dropped because no stroke touches it; a large share means many false pieces.",
    "violation": "How far predictions lie outside their bounds, in multiples of these; 0: all hold. It should fall.",
    "val_score": "Mean of exp(−cross-entropy) and the share inside the bounds (Dice in mode full). Higher is better.",
    "val_partial_ce": "On the drawn voxels of patients that are not trained on; lower is better.",
    "val_constraint_satisfaction": "Anything of about the right size is inside wide bounds: no proof of good masks.",
    "val_dice": "Where validation patients have dense masks; to look at: it chooses nothing, except in mode full.",
    "lr": "Of the last step of each epoch.",
    "t": "Rises by schedule: the larger t, the more the log-barrier costs what lies outside a bound.",
}
BARRIER = (
    "It rises with t, because the log-barrier costs the same violation more as t rises: that is no divergence. Whether "
    "the constraints are met is what the violation shows."
)
SHARES = ("val_score", "val_constraint_satisfaction", "val_dice", "train_dice", "pseudo_removed")


def curve_title(column: str, class_names: Sequence[str] = ()) -> str:
    """Give the title of a column; of ``val_dice_LV`` and its like with the class."""
    if column in TITLES:
        return TITLES[column]
    for name in sorted(class_names, key=len, reverse=True):
        base = column.removesuffix(f"_{name}")
        if base != column and base:
            return f"{TITLES.get(base, base).removesuffix(', mean of the classes')}, {name}"
    if column.startswith("violation_"):
        return f"Violation of the bounds on {_plain(column, 'violation_')}"
    if column.startswith("loss_"):
        return f"Loss term: {_plain(column, 'loss_')}"
    return _plain(column, "val_")


def curve_note(column: str, barrier: bool = False) -> str:
    """Give a sentence about a column; empty where its title says it all.

    Args:
        column: of metrics.csv.
        barrier: whether t changes in the run, so that costs of constraints change with it.
    """
    if column == "loss_size" or (barrier and column.startswith("loss_") and column not in NOTES):
        return BARRIER if barrier else "Cost of the constraint before its weight; it should fall."
    return NOTES.get("violation" if column.startswith("violation_") else column, "")


def curve_axis(column: str) -> tuple[float | None, float | None]:
    """Give the ends of a column's axis: 0 to 1 for shares, from 0 for what is not negative, None: as the data are."""
    if column.startswith(SHARES):
        return 0.0, 1.0
    if column.startswith(("violation_", "val_partial_ce")) or column in ("loss_partial", "lr", "t"):
        return 0.0, None
    return None, None


def _plain(column: str, prefix: str) -> str:
    return column.removeprefix(prefix).replace("_", " ")
