"""Measure without a film: time and memory of every model and batch size, and every stage."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import VidcolorError
from ..models import create_model
from ..models.describe import describe
from ..run.batch_cache import store_batch
from ..run.colorizer import Colorizer, model_size
from ..run.films import colorize_film
from ..run.plan import FilmJob
from ..run.settings import Settings
from ..sinks import check_container
from ..sources import FilmSource
from ..system.devices import device_memory, device_name
from ..system.stages import StageTimer
from ..system.threads import share_threads
from .batches import Row, fastest_batch, largest_batch, measure_batches
from .synthetic import write_film


@dataclass(frozen=True)
class ModelReport:
    """A model at one size on this machine.

    Attributes:
        model: its name.
        size: the model resolution that was asked for.
        seen: height and width at which it sees the frames, pixels.
        precision: of its arithmetic.
        parameters, macs: of the network, for a square of about `size`; see `models.describe`.
        rows: one for each batch size.
        largest: the largest batch that fits, estimated; see `batches.largest_batch`.
        fastest: the batch that `--batch-size auto` uses from now on; None if none fits.
        peak_bytes: peak memory with the fastest batch; None if none fits.
        stages: frames per second of each stage of a run alone, in order, with the fastest batch.
        end_to_end: frames per second of a run with all stages, without its start.
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
    peak_bytes: int | None
    stages: dict[str, float]
    end_to_end: float


@dataclass(frozen=True)
class ModelsReport:
    """What `vidcolor probe` measured without an input.

    Attributes:
        device: its name.
        memory: of the device before the measuring, bytes; see `system.devices.device_memory`.
        frame: width and height of the frames, pixels.
        encoder: of the films.
        models: one for each model and size.
        problems: one line for each model that could not be loaded or used.
    """

    device: str
    memory: dict[str, int]
    frame: tuple[int, int]
    encoder: str
    models: tuple[ModelReport, ...]
    problems: tuple[str, ...] = ()


def probe_models(
    makers: Iterable[Callable[[], Colorizer]],
    width: int,
    height: int,
    settings: Settings,
    *,
    batches: Sequence[int] | None = None,
    keep: bool = True,
    least: float = 0.5,
    on_result: Callable[[ModelReport], None] = lambda report: None,
) -> ModelsReport:
    """Measure batches of noise, and the stages on a film that is made for it.

    Args:
        makers: load the models on one device; each model is released before the next is loaded.
        width, height: of the frames, pixels.
        settings: encoder, stabilizer and luma of the planned runs.
        batches: sizes to measure; see `measure_batches`.
        keep: store the fastest batch of each model for `--batch-size auto`.
        least: seconds to measure each figure, at least.
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
                errors.append(error.with_traceback(None))  # it would hold what was loaded
                continue
            if not found:
                name, memory = device_name(colorizer.device), device_memory(colorizer.device)
            rows = measure_batches(colorizer, width, height, batches, least)
            found.append(_report(colorizer, film, settings, Path(folder), rows))
            if keep and (fastest := found[-1].fastest) is not None:
                store_batch(colorizer, width, height, fastest)
            del colorizer  # two at a time may be more than a device holds
            on_result(found[-1])
    if not found:
        raise errors[0] if errors else ValueError("no model to measure")
    problems = tuple(str(error) for error in errors)
    encoder = settings.encoder.encoder
    return ModelsReport(name, memory, (width, height), encoder, tuple(found), problems)


def _report(
    colorizer: Colorizer, film: FilmSource, settings: Settings, folder: Path, rows: Sequence[Row]
) -> ModelReport:
    # the network as it was trained, with the batch norms that inference folds away
    network = create_model(colorizer.entry.architecture, **colorizer.entry.options)
    side = max(1, round(colorizer.size / colorizer.stride)) * colorizer.stride
    costs, fastest = describe(network, side), fastest_batch(rows, colorizer.device)
    stages: dict[str, float] = {}
    end_to_end = 0.0
    if fastest is not None:
        stages, end_to_end = measure_stages(colorizer, film, settings, folder, fastest)
    return ModelReport(
        model=colorizer.name,
        size=colorizer.size,
        seen=model_size(film.facts.height, film.facts.width, colorizer.size, colorizer.stride),
        precision=colorizer.precision,
        parameters=costs.parameters,
        macs=costs.macs,
        rows=tuple(rows),
        largest=largest_batch(rows, colorizer.device),
        fastest=fastest,
        peak_bytes=next((row.taken_bytes for row in rows if row.batch == fastest), None),
        stages=stages,
        end_to_end=end_to_end,
    )


def measure_stages(
    colorizer: Colorizer, film: FilmSource, settings: Settings, folder: Path, batch: int
) -> tuple[dict[str, float], float]:
    """Colorize a film twice: with its stages one after another, and as a run does.

    Args:
        colorizer: the model on its device.
        film: see `synthetic.write_film`.
        settings: encoder, stabilizer and luma of the run.
        folder: for the film that is written, which is removed.
        batch: frames in a batch.

    Returns:
        `ModelReport.stages` and `ModelReport.end_to_end`.

    Raises:
        OutputError: a film cannot be written with these settings.
    """
    output = folder / "stages.mkv"
    job = FilmJob(film, output, check_container(output, film.facts, settings.encoder))
    chosen = Settings(
        encoder=settings.encoder,
        exact_luma=settings.exact_luma,
        batch_size=batch,
        overwrite=True,
        stabilize=settings.stabilize,
    )
    timer = StageTimer(colorizer.device, overlap=False)
    colorize_film(job, colorizer, chosen, timer=timer)
    moments = [(0, time.perf_counter())]
    colorize_film(
        job,
        colorizer,
        chosen,
        lambda progress: moments.append((progress.done, time.perf_counter())),
    )
    output.unlink()
    # the start is not counted, unless there is nothing else
    (first, began), (last, ended) = moments[len(moments) > 2], moments[-1]
    fps = {name: cost.fps for name, cost in timer.costs.items()}
    fps["predict"] *= share_threads(colorizer.device, colorizer.gmacs).workers  # here it had one
    return fps, (last - first) / max(1e-9, ended - began)
