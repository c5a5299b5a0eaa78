"""`vidcolor probe`: what this machine can do, and what a run of given files will take.

    machine.probe_machine   models, batch sizes and stages, without an input
    forecast.forecast       seconds, memory and bytes of a run, from a few seconds of it
    plot                    bars of both

Training has a probe of its own, `vidcolor.training.probe`.
"""

from .forecast import Forecast, ForecastReport
from .machine import MachineReport, ModelReport, probe_machine

__all__ = [
    "Forecast",
    "ForecastReport",
    "MachineReport",
    "ModelReport",
    "probe_machine",
]
