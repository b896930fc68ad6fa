# SPDX-License-Identifier: Apache-2.0
"""Whether the scores of a run folder are those of the weights that lie in it."""

from __future__ import annotations

import hashlib

from wss_monai.report.run_folder import Run

__all__ = ["scored_others"]


def scored_others(run: Run) -> str:
    """Say how the weights that were scored differ from those in the run's folder; empty where they are the same.

    Scores of releases before, and of other programs, say nothing of weights: then nothing is known.
    """
    weights = (run.summary or {}).get("weights")
    if not isinstance(weights, dict) or not isinstance(weights.get("sha256"), str):
        return ""
    name = str(weights.get("file") or "model.pt")
    file = run.folder / name
    if not file.is_file():
        return f"the scores are those of the weights {name}, which are not there any more."
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest == weights["sha256"]:
        return ""
    return f"the scores are not those of {name} as it is now, which was written later: evaluate again."
