"""What the machine can do without a film: every model, batch size and stage."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..batch_cache import store_batch
from ..colorizer import Colorizer, model_size
from ..metering import device_memory, device_name
from ..models import create_model
from ..models.describe import describe
from ..planning import Settings
from .batches import Row, fastest_batch, largest_batch, measure_batches
from .stages import Stages, measure_stages
from .synthetic import write_film


@dataclass(frozen=True)
class ModelReport:
    """A model at one size on this machine.

    Attributes:
        model: its name.
        size: that was asked for, pixels squared.
        seen: height and width at which it sees the frames.
        precision: of its arithmetic.
        parameters, macs: of the network, for a square of about `size`; see `models.describe`.
        rows: one for each batch size.
        largest: the largest batch that fits; see `batches.largest_batch`.
        fastest: the batch that `--batch-size auto` uses from now on, None if none fits.
        stages: frames a second of each stage, measured with the fastest batch.
    """

    model: str
    size: int
    seen: tuple[int, int]
    precision: str
    parameters: int
    macs: int
    rows: tuple[Row, ...]
    largest: int
    fastest: int | None
    stages: Stages

    @property
    def peak_bytes(self) -> int | None:
        """Memory at the peak with the fastest batch, None if none fits."""
        return next((row.taken_bytes for row in self.rows if row.batch == self.fastest), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **{key: value for key, value in vars(self).items() if key != "stages"},
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "peak_bytes": self.peak_bytes,
            "stages": self.stages.to_dict(),
        }


@dataclass(frozen=True)
class MachineReport:
    """What `vidcolor probe` measured without an input.

    Attributes:
        device: its name.
        memory: of the device before the measuring, in bytes; see `metering.device_memory`.
        frame: width and height of the frames, pixels.
        encoder: that the films were encoded with.
        models: one for each model and size.
    """

    device: str
    memory: dict[str, int]
    frame: tuple[int, int]
    encoder: str
    models: tuple[ModelReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "models": [model.to_dict() for model in self.models]}


def network_costs(colorizer: Colorizer) -> tuple[int, int]:
    """Parameters and multiply-adds of a colorizer's network as it was trained, on a square of about
    its size; the batch norms that inference folds away are still there."""
    network = create_model(colorizer.entry.architecture, **colorizer.entry.options)
    side = max(1, round(colorizer.size / colorizer.stride)) * colorizer.stride
    description = describe(network, side)
    return description.parameters, description.macs


def probe_machine(
    colorizers: Iterable[Colorizer],
    width: int,
    height: int,
    settings: Settings,
    *,
    batches: Sequence[int] | None = None,
    keep: bool = True,
    least: float = 0.5,
    told: Callable[[ModelReport], None] = lambda report: None,
) -> MachineReport:
    """Measure models on noise, and every stage on a film that is made for it.

    Args:
        colorizers: the models on one device; each is let go before the next is taken.
        width, height: of the frames, pixels.
        settings: encoder, stabilizer and luma of the runs that are meant.
        batches: sizes to measure; None for as many as there is something to gain.
        keep: keep the fastest batch of each model for `--batch-size auto`.
        least: seconds that each figure is measured for.
        told: called with each model's report as it is done.

    Raises:
        OutputError: the film cannot be written with these settings.
        ValueError: there is no model.
    """
    found: list[ModelReport] = []
    name, memory = "", {}
    with tempfile.TemporaryDirectory(prefix="vidcolor-probe-") as folder:
        film = write_film(Path(folder), width, height)
        for colorizer in colorizers:
            device = colorizer.device
            if not found:
                name, memory = device_name(device), device_memory(device)
            rows = measure_batches(colorizer, width, height, batches, least)
            fastest = fastest_batch(rows, device)
            parameters, macs = network_costs(colorizer)
            stages = Stages()
            if fastest is not None:
                stages = measure_stages(colorizer, film, settings, Path(folder), fastest, 2 * least)
                if keep:
                    store_batch(colorizer, width, height, fastest)
            report = ModelReport(
                model=colorizer.name,
                size=colorizer.size,
                seen=model_size(height, width, colorizer.size, colorizer.stride),
                precision=str(colorizer.precision),
                parameters=parameters,
                macs=macs,
                rows=rows,
                largest=largest_batch(colorizer, width, height, rows),
                fastest=fastest,
                stages=stages,
            )
            found.append(report)
            told(report)
    if not found:
        raise ValueError("no model to measure")
    return MachineReport(name, memory, (width, height), settings.encoder.encoder, tuple(found))
