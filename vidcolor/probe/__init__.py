"""`vidcolor probe`: measure models here, and estimate a run of given files."""

from .forecast import Forecast, ForecastReport
from .models import ModelReport, ModelsReport, probe_models

__all__ = ["Forecast", "ForecastReport", "ModelReport", "ModelsReport", "probe_models"]
