# SPDX-License-Identifier: Apache-2.0
"""Class activation maps as tensors: their channels, tag scores, gradients, and cues cut from them."""
