# SPDX-License-Identifier: Apache-2.0
"""Readers of public releases and of folders of volumes: each writes a data set with a `dataset.json`."""
