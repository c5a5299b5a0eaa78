"""The errors that vidcolor raises.

    VidcolorError             one line: the file, the cause, the remedy
    ├── InputError            an input cannot be opened, decoded or used
    │   └── DamagedInputError part of an input could not be read; the rest was colorized
    ├── OutputError           an output cannot be written, or would overwrite a file
    │   └── ContainerError    the output's container cannot hold one of the input's streams
    ├── WeightsError          weights are missing, truncated, altered or of another model
    ├── DeviceError           the requested device or precision is not available
    ├── OptionError           an option's value cannot be used (in `options.py`)
    └── TrainingError         a data set or a checkpoint cannot be used
        ├── RecipeError       a recipe, or a key set for it, is wrong
        └── DivergedError     the loss became nan or infinite

The command line catches `VidcolorError`, prints its message as one line and exits with 1 if an
input or a training failed, and with 2 if an option or a recipe cannot be used.
"""

from __future__ import annotations


class VidcolorError(Exception):
    """Base class of these errors; `str(error)` is one printable line."""


class InputError(VidcolorError):
    """An input cannot be opened, decoded or used."""


class DamagedInputError(InputError):
    """Part of an input could not be read; what could be read was colorized."""


class OutputError(VidcolorError):
    """An output cannot be written, or would overwrite a file."""


class ContainerError(OutputError):
    """The output's container cannot hold one of the input's streams."""


class WeightsError(VidcolorError):
    """Weights are missing, truncated, altered, or belong to another model."""


class DeviceError(VidcolorError):
    """The requested device or precision is not available."""


class TrainingError(VidcolorError):
    """A data set or a checkpoint cannot be used, or a training failed."""


class RecipeError(TrainingError):
    """A recipe, or a key set for it on the command line, is wrong."""


class DivergedError(TrainingError):
    """The training loss became nan or infinite."""
