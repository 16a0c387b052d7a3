"""The names of the trackers that a run can be followed with."""

from typing import Literal

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""TensorBoard, Weights & Biases, MLflow, Trackio."""
