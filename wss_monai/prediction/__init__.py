# SPDX-License-Identifier: Apache-2.0
"""Masks and volumes in ml of new images, with the network of a run's folder."""

from __future__ import annotations

from wss_monai.prediction.files import Plan, plan_of, predict
from wss_monai.prediction.prediction import Prediction
from wss_monai.prediction.predictor import Predictor

__all__ = ["Plan", "Prediction", "Predictor", "plan_of", "predict"]
