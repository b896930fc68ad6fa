# SPDX-License-Identifier: Apache-2.0
"""Tensor and array functions that import nothing else of this package."""

UNLABELLED = 255
"""Index that marks an unlabelled voxel in every class-index map."""
