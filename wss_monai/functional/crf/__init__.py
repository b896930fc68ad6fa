# SPDX-License-Identifier: Apache-2.0
"""Fully connected CRF by mean-field inference, in torch alone."""

from wss_monai.functional.crf.dense import METHODS, dense_crf

__all__ = ["METHODS", "dense_crf"]
