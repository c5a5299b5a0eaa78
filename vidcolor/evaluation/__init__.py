"""Measuring a colorizer: on colour pictures (`stills`) and on colour clips (`video`)."""

from .folders import FolderRow, folder_of
from .sheet import PictureScore
from .stills import (
    LEAST_SIZE,
    MIN_CHROMA,
    EvalRow,
    EvalTable,
    Predictor,
    evaluate,
    evaluate_folders,
)
from .video import ClipTable, FilmPredictor, VideoRow, VideoTable, evaluate_video

__all__ = [
    "LEAST_SIZE",
    "MIN_CHROMA",
    "ClipTable",
    "EvalRow",
    "EvalTable",
    "FilmPredictor",
    "FolderRow",
    "PictureScore",
    "Predictor",
    "VideoRow",
    "VideoTable",
    "evaluate",
    "evaluate_folders",
    "evaluate_video",
    "folder_of",
]
