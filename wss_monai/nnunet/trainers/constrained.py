# SPDX-License-Identifier: Apache-2.0
"""The trainer under the name that ``nnUNetv2_train -tr`` asks for."""

from wss_monai.nnunet.trainer import nnUNetTrainerConstrained

__all__ = ["nnUNetTrainerConstrained"]
