"""Training objectives by name: the loss, what it compares, and the measures of a prediction."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RecipeError
from ...models import ColorModel
from ...models.reproductions.classifier import PaletteClassifier
from .base import OBJECTIVES, Objective, register_objective

__all__ = ["OBJECTIVES", "Objective", "create_objective", "register_objective"]


def create_objective(name: str, model: ColorModel, options: Mapping[str, object]) -> Objective:
    """Create the objective `name` for `model`, which must be on its device already.

    Raises:
        RecipeError: the objective has no such option, or the model does not predict what it
            compares.
    """
    kind = OBJECTIVES[name]
    if kind.native not in ("forward", model.native):
        raise RecipeError(
            f"recipe key 'objective': '{name}' needs a model that predicts '{kind.native}', which "
            "this one does not"
        )
    if kind.native == "forward" and isinstance(model, PaletteClassifier):
        # the choice has no gradient, and a new palette is gray
        raise RecipeError(
            f"recipe key 'objective': '{name}' cannot train a model that chooses colors from a "
            "palette; use 'color_classes'"
        )
    try:
        return kind(model, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe key 'objective_options': {error}") from error
