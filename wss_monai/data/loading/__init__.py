# SPDX-License-Identifier: Apache-2.0
"""From cached cases to batches: slices and patches, order by seed and epoch, labelled and unlabelled in pairs."""
