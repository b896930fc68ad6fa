# SPDX-License-Identifier: Apache-2.0
"""What may be said of a feature whose clusters are compared: one mapping that heads and losses read."""

__all__ = ["HEAD_SETTINGS", "LOSS_SETTINGS", "SCALES"]

SCALES = ("global", "local")
"""Whether a feature is averaged over space before it is assigned, or assigned voxel by voxel."""

HEAD_SETTINGS = ("num_clusters", "num_heads", "kind", "normalize", "temperature")
"""What a feature's settings may say about its heads."""

LOSS_SETTINGS = ("importance", "padding", "patch_size")
"""What a feature's settings may say that is for the loss."""
