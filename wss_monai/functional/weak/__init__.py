# SPDX-License-Identifier: Apache-2.0
"""Weak labels as arrays: points, blobs, scribbles and boxes made from masks, and what a drawing shows."""
