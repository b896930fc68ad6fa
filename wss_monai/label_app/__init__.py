# SPDX-License-Identifier: Apache-2.0
"""An app for MONAI Label: bundles that predict in 3D Slicer and learn from the drawings that were stored there."""

__all__: list[str] = []
