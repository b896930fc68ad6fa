# SPDX-License-Identifier: Apache-2.0
"""Generated data sets: hearts, prostates, brains, ellipsoids and toy pictures, with weak labels."""
