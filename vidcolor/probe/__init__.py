"""`vidcolor probe`: measure models and stages here, and estimate a run of given files."""

from .forecast import Forecast, ForecastReport
from .machine import MachineReport, ModelReport, probe_machine

__all__ = ["Forecast", "ForecastReport", "MachineReport", "ModelReport", "probe_machine"]
