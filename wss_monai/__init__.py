# SPDX-License-Identifier: Apache-2.0
"""Weakly and semi-supervised segmentation of medical volumes, the MONAI way."""

__version__ = "0.1.0"

from wss_monai.moved import install

install()
