# SPDX-License-Identifier: Apache-2.0
"""Files: volumes and label maps in any format that SimpleITK or nibabel reads, tables, archives, whole files only."""
