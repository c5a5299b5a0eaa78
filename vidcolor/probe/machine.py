"""What the machine can do without a film: every model, batch size and stage."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import VidcolorError
from ..models import create_model
from ..models.describe import describe
from ..run.batch_cache import store_batch
from ..run.colorizer import Colorizer, model_size
from ..run.settings import Settings
from ..sources import FilmSource
from ..system.devices import device_memory, device_name
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
        problems: models that could not be loaded or used, one line each.
    """

    device: str
    memory: dict[str, int]
    frame: tuple[int, int]
    encoder: str
    models: tuple[ModelReport, ...]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        models = [model.to_dict() for model in self.models]
        return {**vars(self), "models": models, "problems": list(self.problems)}


def network_costs(colorizer: Colorizer) -> tuple[int, int]:
    """Parameters and multiply-adds of a colorizer's network as it was trained, on a square of about
    its size; the batch norms that inference folds away are still there."""
    network = create_model(colorizer.entry.architecture, **colorizer.entry.options)
    side = max(1, round(colorizer.size / colorizer.stride)) * colorizer.stride
    description = describe(network, side)
    return description.parameters, description.macs


def probe_machine(
    makers: Iterable[Callable[[], Colorizer]],
    width: int,
    height: int,
    settings: Settings,
    *,
    batches: Sequence[int] | None = None,
    keep: bool = True,
    least: float = 0.5,
    on_result: Callable[[ModelReport], None] = lambda report: None,
) -> MachineReport:
    """Measure models on noise, and every stage on a film that is made for it.

    Args:
        makers: load the models on one device, one after the other; each is let go before the next
            is made.
        width, height: of the frames, pixels.
        settings: encoder, stabilizer and luma of the runs that are meant.
        batches: sizes to measure; None for as many as there is something to gain.
        keep: keep the fastest batch of each model for `--batch-size auto`.
        least: seconds that each figure is measured for.
        on_result: called with each model's report as it is done.

    Raises:
        OutputError: the film cannot be written with these settings.
        VidcolorError: no model can be loaded; that of the first.
        ValueError: there is no model.
    """
    found: list[ModelReport] = []
    errors: list[VidcolorError] = []
    name, memory = "", {}
    with tempfile.TemporaryDirectory(prefix="vidcolor-probe-") as folder:
        film = write_film(Path(folder), width, height)
        for make in makers:
            try:
                colorizer = make()
            except VidcolorError as error:
                errors.append(error.with_traceback(None))  # which would hold what was loaded
                continue
            if not found:
                name, memory = device_name(colorizer.device), device_memory(colorizer.device)
            report = _probed(colorizer, film, settings, Path(folder), batches, least)
            if keep and report.fastest is not None:
                store_batch(colorizer, width, height, report.fastest)
            del colorizer  # two at a time may be more than a device holds
            found.append(report)
            on_result(report)
    if not found:
        raise errors[0] if errors else ValueError("no model to measure")
    problems = tuple(str(error) for error in errors)
    encoder = settings.encoder.encoder
    return MachineReport(name, memory, (width, height), encoder, tuple(found), problems)


def _probed(
    colorizer: Colorizer,
    film: FilmSource,
    settings: Settings,
    folder: Path,
    batches: Sequence[int] | None,
    least: float,
) -> ModelReport:
    width, height = film.facts.width, film.facts.height
    rows = measure_batches(colorizer, width, height, batches, least)
    fastest = fastest_batch(rows, colorizer.device)
    parameters, macs = network_costs(colorizer)
    stages = Stages()
    if fastest is not None:
        stages = measure_stages(colorizer, film, settings, folder, fastest)
    return ModelReport(
        model=colorizer.name,
        size=colorizer.size,
        seen=model_size(height, width, colorizer.size, colorizer.stride),
        precision=colorizer.precision,
        parameters=parameters,
        macs=macs,
        rows=rows,
        largest=largest_batch(colorizer, width, height, rows),
        fastest=fastest,
        stages=stages,
    )
