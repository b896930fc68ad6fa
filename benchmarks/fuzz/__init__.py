# SPDX-License-Identifier: Apache-2.0
"""Malformed and hostile inputs, seeded: each must be read right, or refused in one line that names it.

`python benchmarks/robustness.py` (`make fuzz`) runs them. A part is a function here of (ground, draw) that gives cases,
without an end where they are drawn at random.
"""
