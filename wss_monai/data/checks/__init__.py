# SPDX-License-Identifier: Apache-2.0
"""What `python -m wss_monai check` looks at before anything is trained: entries, files, grids, values, splits."""
