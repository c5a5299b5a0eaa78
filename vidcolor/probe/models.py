"""Measure models without a film: time and memory of every model, size and batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import VidcolorError
from ..run.batch_cache import store_batch
from ..run.colorizer import Colorizer
from ..run.prepared import model_size
from ..system.devices import device_memory, device_name
from .batches import Row, fastest_batch, largest_batch, measure_batches


@dataclass(frozen=True)
class ModelReport:
    """A model at one size on this machine.

    Attributes:
        model: its name.
        size: the model resolution that was asked for.
        seen: height and width at which it sees the frames, pixels.
        precision: of its arithmetic.
        parameters, gmacs: of the network, and billions of multiply-adds for a frame, by the record
            of its weights; 0 for unknown.
        rows: one for each batch size.
        largest: the largest batch that fits, estimated; see `batches.largest_batch`.
        fastest: the batch that `--batch-size auto` uses from now on; None if none fits.
    """

    model: str
    size: int
    seen: tuple[int, int]
    precision: str
    parameters: int
    gmacs: float
    rows: tuple[Row, ...]
    largest: int
    fastest: int | None


@dataclass(frozen=True)
class ModelsReport:
    """What `vidcolor probe` measured without an input.

    Attributes:
        device: its name.
        memory: of the device before the measuring, bytes; see `system.devices.device_memory`.
        frame: width and height of the frames, pixels.
        models: one for each model and size.
        problems: one line for each model that could not be loaded or used.
    """

    device: str
    memory: dict[str, int]
    frame: tuple[int, int]
    models: tuple[ModelReport, ...]
    problems: tuple[str, ...] = ()


def probe_models(
    makers: Iterable[Callable[[], Colorizer]],
    width: int,
    height: int,
    *,
    batches: Sequence[int] | None = None,
    keep: bool = True,
    least: float = 0.5,
    on_result: Callable[[ModelReport], None] = lambda report: None,
) -> ModelsReport:
    """Measure batches of noise with each model.

    Args:
        makers: load the models on one device; each model is released before the next is loaded.
        width, height: of the frames, pixels.
        batches: sizes to measure; see `measure_batches`.
        keep: store the fastest batch of each model for `--batch-size auto`.
        least: seconds to measure each figure, at least.
        on_result: called with each model's report as it is done.

    Raises:
        VidcolorError: no model can be loaded; that of the first.
        ValueError: there is no model.
    """
    found: list[ModelReport] = []
    errors: list[VidcolorError] = []
    name, memory = "", {}
    for make in makers:
        try:
            colorizer = make()
        except VidcolorError as error:
            errors.append(error.with_traceback(None))  # it would hold what was loaded
            continue
        if not found:
            name, memory = device_name(colorizer.device), device_memory(colorizer.device)
        rows = measure_batches(colorizer, width, height, batches, least)
        fastest = fastest_batch(rows, colorizer.device)
        if keep and fastest is not None:
            store_batch(colorizer, width, height, fastest)
        report = ModelReport(
            model=colorizer.name,
            size=colorizer.size,
            seen=model_size(height, width, colorizer.size, colorizer.stride),
            precision=colorizer.precision,
            parameters=colorizer.entry.parameters,
            gmacs=colorizer.gmacs,
            rows=rows,
            largest=largest_batch(rows, colorizer.device),
            fastest=fastest,
        )
        del colorizer  # two at a time may be more than a device holds
        found.append(report)
        on_result(report)
    if not found:
        raise errors[0] if errors else ValueError("no model to measure")
    return ModelsReport(name, memory, (width, height), tuple(found), tuple(map(str, errors)))
