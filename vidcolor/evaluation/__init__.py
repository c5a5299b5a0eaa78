"""Measures a colorizer on color pictures (`stills`) and on color clips (`video`)."""

from .folders import FolderRow, folder_of
from .sheets import PictureScore
from .stills import (
    MIN_SIZE,
    EvalRow,
    EvalTable,
    Predictor,
    evaluate,
    evaluate_folders,
)
from .video import ClipTable, VideoRow, VideoTable, evaluate_video

__all__ = [
    "MIN_SIZE",
    "ClipTable",
    "EvalRow",
    "EvalTable",
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
