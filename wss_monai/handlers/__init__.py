# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers that MONAI lacks."""

from wss_monai.handlers.averaged_network import AveragedNetwork, UpdateAverage
from wss_monai.handlers.averaged_predictions import AveragedPredictions, UpdatePredictions
from wss_monai.handlers.barrier_schedule import BarrierSchedule
from wss_monai.handlers.cam_files import CAMFiles
from wss_monai.handlers.cam_snapshots import CAMSnapshots
from wss_monai.handlers.cam_tag_score import CAMTagScore
from wss_monai.handlers.cam_threshold import CAMThreshold
from wss_monai.handlers.checkpoint import TrainingCheckpoint
from wss_monai.handlers.epoch_log import EpochLog
from wss_monai.handlers.finite_loss import FiniteLoss
from wss_monai.handlers.gradient_norms import GradientNorms
from wss_monai.handlers.initial_weights import InitialWeights, take_weights
from wss_monai.handlers.load_weights import StrictCheckpointLoader
from wss_monai.handlers.loss_scaling import LossScaling
from wss_monai.handlers.multipliers import Multipliers, UpdateMultipliers
from wss_monai.handlers.run_log import RunLog
from wss_monai.handlers.run_record import RunRecord
from wss_monai.handlers.set_epoch import SetEpoch
from wss_monai.handlers.set_size import SetSize
from wss_monai.handlers.shared_buffers import SharedBuffers
from wss_monai.handlers.shift_to_sizes import ShiftToSizes
from wss_monai.handlers.snapshots import Snapshots
from wss_monai.handlers.stop_early import Patience, StopEarly
from wss_monai.handlers.tag_score import TagScore
from wss_monai.handlers.torch_compile import TorchCompile
from wss_monai.handlers.training_check import TrainingCheck
from wss_monai.handlers.training_monitor import TrainingMonitor
from wss_monai.handlers.validation_score import ValidationScore
from wss_monai.handlers.volume_scores import VolumeScores
from wss_monai.handlers.weight_ramp import WeightRamp
from wss_monai.handlers.weight_schedule import AddWeight, StartTerm, StealWeight
from wss_monai.moved import names_of

__all__ = [
    "AddWeight",
    "AveragedNetwork",
    "AveragedPredictions",
    "BarrierSchedule",
    "CAMFiles",
    "CAMSnapshots",
    "CAMTagScore",
    "CAMThreshold",
    "EpochLog",
    "FiniteLoss",
    "GradientNorms",
    "InitialWeights",
    "LossScaling",
    "Multipliers",
    "Patience",
    "RunLog",
    "RunRecord",
    "SetEpoch",
    "SetSize",
    "SharedBuffers",
    "ShiftToSizes",
    "Snapshots",
    "StartTerm",
    "StealWeight",
    "StopEarly",
    "StrictCheckpointLoader",
    "TagScore",
    "TorchCompile",
    "TrainingCheck",
    "TrainingCheckpoint",
    "TrainingMonitor",
    "UpdateAverage",
    "UpdateMultipliers",
    "UpdatePredictions",
    "ValidationScore",
    "VolumeScores",
    "WeightRamp",
    "take_weights",
]

__getattr__ = names_of("handlers")
