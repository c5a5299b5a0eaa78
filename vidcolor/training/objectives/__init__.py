"""Training objectives, by name: what a prediction is, how it is compared, how it is looked at."""

from __future__ import annotations

from ...errors import RecipeError
from ...models import ColorModel
from ...models.reproductions.classifier import PaletteClassifier
from .ab_perceptual import AbPerceptual
from .ab_regression import AbHuber, AbMse, Lab8Mse
from .base import Objective
from .colour_classes import ColourClasses
from .gamut_bins import GamutBins
from .mean_chroma import MeanChroma
from .rgb_mse import RgbMse

OBJECTIVES: dict[str, type[Objective]] = {
    "ab_huber": AbHuber,
    "ab_mse": AbMse,
    "ab_perceptual": AbPerceptual,
    "colour_classes": ColourClasses,
    "gamut_bins": GamutBins,
    "lab8_mse": Lab8Mse,
    "mean_chroma": MeanChroma,
    "rgb_mse": RgbMse,
}


def create_objective(name: str, model: ColorModel, options: dict[str, object]) -> Objective:
    """The objective `name` for `model`, which must be on its device already.

    Raises:
        RecipeError: the objective has no such option, or the model does not predict what it
            compares.
    """
    kind = OBJECTIVES[name]
    native = getattr(kind, "native", "forward")
    if native not in ("forward", model.native):
        raise RecipeError(
            f"recipe key 'objective': '{name}' needs a model that predicts '{native}', which this "
            "one does not"
        )
    if native == "forward" and isinstance(model, PaletteClassifier):
        # the choice has no gradient, and a fresh palette is grey
        raise RecipeError(
            f"recipe key 'objective': '{name}' cannot train a model that chooses colours out of a "
            "palette; use 'colour_classes'"
        )
    try:
        return kind(model, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe key 'objective_options': {error}") from error
