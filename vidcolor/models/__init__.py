"""The networks: their contract, their registry, their weights, and what they cost."""

from .base import ColorModel, FeatureModel
from .registry import DEFAULT_MODEL, MODELS, check_options, create_model, register_model

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "ColorModel",
    "FeatureModel",
    "check_options",
    "create_model",
    "register_model",
]
