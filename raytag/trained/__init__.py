"""What comes out of a study: single models as ordinary files, and the average of the best ones."""

from raytag.trained.model import load_model
from raytag.trained.model_file import ModelFile, read_model_file
from raytag.trained.prediction import Prediction, predict, predict_arrays

__all__ = ["ModelFile", "Prediction", "load_model", "predict", "predict_arrays", "read_model_file"]
