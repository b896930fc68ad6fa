# SPDX-License-Identifier: Apache-2.0
"""What nnU-Net finds when it searches this folder: it imports each module as one of its own."""
