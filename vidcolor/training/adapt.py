"""Weights for one film, from a few of its stills in color: `adapt`.

The encoder stays as it is, and its features are computed once. So do the layers that see the whole
picture: what they learn from a few stills changes every pixel of every shot. The rest of the
decoder learns the colors of the stills. A penalty keeps its weights near the starting ones, and
where a still has no color, the target is the prediction of the starting weights (L2-SP: Li,
Grandvalet, Davoine 2018, "Explicit inductive bias for transfer learning"; distillation: Hinton,
Vinyals, Dean 2015).

The first two trainings leave out one side of every still. Their error there shows whether the
colors of a still hold for what it does not show. Then three more trainings follow: the less a still
has gained there, the closer its target stays to the first prediction. The weights are their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..color.convert import rgb_to_lab
from ..errors import InputError, TrainingError
from ..models import FeatureModel
from ..models.weights import load_model, save_weights
from ..run.colorizer import Colorizer
from ..run.references.gray_places import decide_gray
from ..run.references.palette import Reference, places_of
from ..run.references.shot_list import ShotList
from ..run.references.stills import frame_of
from .options import AdaptOptions

LEAST, MOST = 4, 64  # stills
_BATCH = 4
_CROPS = 2  # of each still, beside itself and its mirror image
_VIEWS = 2 + _CROPS  # of each still
_KEEP = 0.2  # weight of the first weights' own colors, where no still says another
_HUBER = 5.0  # of a*b*, where the loss turns from square to straight
_LEFT_OUT = 0.35  # of the width of each still
_TRAININGS = 3  # whose mean is taken
_LEAST_SHARE = 0.5  # how far a still is learned that has gained nothing on what was left out
_FULL_GAIN = 4.0  # dB, from which a still is learned fully
_EVEN = 0.1  # of the mean first error: a still whose error is smaller counts no more than with this


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        output: the weights.
        stills: number of stills that were learned from.
        before, after: mean distance of the network's a*b* from the stills' own.
        gain: of the network on the sides of stills that a training left out, mean, dB.
        harmed: numbers of the shots whose left-out sides the starting weights color better.
        changed: False if these are all shots with stills: the weights are the starting ones.
    """

    output: Path
    stills: int
    before: float
    after: float
    gain: float
    harmed: tuple[int, ...]
    changed: bool


@dataclass(frozen=True)
class _View:
    """A still as it is seen in training.

    Attributes:
        features: of the encoder.
        first: `(1, 2, h, w)` what the starting weights predict, in the network's own units.
        goal: `(1, 2, h, w)` what the network is to predict, in the same units.
        known: `(1, 1, h, w)` where the goal is the still's own color, 0 to 1.
        weight: `(1, 1, h, w)` of the error at each place.
        column: `(1, 1, h, w)` place in the width of the still, 0 to 1.
    """

    features: dict[int, Tensor]
    first: Tensor
    goal: Tensor
    known: Tensor
    weight: Tensor
    column: Tensor

    def left_out(self, side: int | None) -> Tensor:
        """`(1, 1, h, w)` bool, the left (0) or right (1) of the still, or nothing."""
        if side is None:
            return torch.zeros_like(self.column, dtype=torch.bool)
        return (self.column if side == 0 else 1 - self.column) < _LEFT_OUT

    def toward(self, share: float) -> _View:
        """The same with a goal between the first prediction (0) and this goal (1)."""
        return replace(self, goal=self.first + share * (self.goal - self.first))


def adapt(
    colorizer: Colorizer, output: Path, options: AdaptOptions | None = None, *, seed: int = 0
) -> Adapted:
    """Fit the decoder of a model to the colored stills of a folder of shots.

    Args:
        colorizer: with the folder as its `shots`.
        output: the new weights, safetensors; replaced if it exists.
        options: see `AdaptOptions`.
        seed: of crops and order.

    Raises:
        InputError: fewer than `LEAST` stills are colored.
        TrainingError: the model has no encoder features, or the weights do not stay finite.
        OutputError: the file cannot be written.
    """
    options = options or AdaptOptions()
    chosen = colorizer.options
    network, entry = load_model(chosen.model, chosen.weights and Path(chosen.weights))
    pictures = colorizer.references.pictures
    listed = colorizer.shots
    if listed is None or len(pictures) < LEAST:
        raise InputError(
            f"{chosen.shots}: {len(pictures)} stills are colored, and weights need {LEAST} at "
            "least; color more"
        )
    if not isinstance(network, FeatureModel):
        raise TrainingError(f"the model '{colorizer.name}' cannot be adapted; choose 'fast'")
    if len(pictures) > MOST:
        pictures = tuple(pictures[i * len(pictures) // MOST] for i in range(MOST))
    network = network.to(colorizer.device).eval()  # batch norms keep their statistics
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        views = _even(
            [
                view
                for picture in pictures
                for view in _views(network, picture, colorizer, entry.chroma_gain, generator)
            ]
        )
    own = views[::_VIEWS]
    before = _distance(network, own, entry.chroma_gain)
    first = {name: each.detach().clone() for name, each in network.state_dict().items()}
    gains = [0.0] * len(own)
    for side in (0, 1):
        network.load_state_dict(first)
        _train(network, views, side, options, generator)
        for i, view in enumerate(own):
            gains[i] += _gain(network, view, side) / 2
    gain = sum(gains) / len(gains)
    by_shot = _by_shot(listed, pictures, gains)
    harmed = tuple(number for number, each in by_shot.items() if each < 0)
    changed = len(harmed) < len(by_shot)
    weights = first
    if changed:
        goals = [view.toward(_share(gains[i // _VIEWS])) for i, view in enumerate(views)]
        sums = {name: torch.zeros_like(each) for name, each in first.items()}
        for _ in range(_TRAININGS):
            network.load_state_dict(first)
            _train(network, goals, None, options, generator)
            for name, each in network.state_dict().items():
                sums[name] += each
        weights = {name: each / _TRAININGS for name, each in sums.items()}
    network.load_state_dict(weights)
    after = _distance(network, own, entry.chroma_gain)
    if not math.isfinite(after) or not math.isfinite(gain):
        raise TrainingError("the weights do not stay finite; give a lower --rate")
    entry = replace(
        entry, file="", sha256="", shards={}, metrics={},
        recipe=f"adapted from '{colorizer.name}' to {len(pictures)} stills",
        data=f"stills of {listed.film.path.name}; before: {entry.data}",
    )  # fmt: skip
    save_weights(output, network.state_dict(), entry, torch.float32)
    return Adapted(output, len(pictures), before, after, gain, harmed, changed)


def _views(
    network: FeatureModel,
    picture: Reference,
    colorizer: Colorizer,
    gain: float,
    generator: torch.Generator,
) -> Iterator[_View]:
    """A still, its mirror image, and crops of it."""
    device = colorizer.device
    lab = rgb_to_lab(picture.rgb.to(device).float() / 255)
    lightness = lab[:, :1] if picture.lightness is None else picture.lightness.to(device)
    places = places_of(picture, colorizer.describe, device)
    (decided,) = decide_gray([places], colorizer.references.gray)
    kept = (decided.colors == places.colors).all(dim=1) & places.known
    known = F.interpolate(kept.view(1, 1, *places.grid).float(), lab.shape[-2:])
    column = torch.linspace(0, 1, lab.shape[-1], device=device).expand_as(lightness)
    known = known * picture.opaque.to(device)
    planes = torch.cat([lightness, lab[:, 1:], known, column], dim=1)
    height, width = planes.shape[-2:]
    several = [planes, planes.flip(-1)]
    for number in range(_CROPS):
        share = 0.6 + 0.3 * float(torch.rand((), generator=generator))
        rows, columns = round(share * height), round(share * width)
        top = int(torch.randint(height - rows + 1, (), generator=generator))
        left = int(torch.randint(width - columns + 1, (), generator=generator))
        part = planes[..., top : top + rows, left : left + columns]
        part = F.interpolate(part, (height, width), mode="bilinear")
        several.append(part.flip(-1) if number % 2 else part)
    for each in several:
        features = network.features(each[:, :1])
        first = network.from_features(features)
        small = F.interpolate(each[:, 1:], first.shape[-2:], mode="area")
        seen = small[:, 2:3]
        goal = seen * small[:, :2] / gain + (1 - seen) * first
        yield _View(features, first, goal, seen, seen + _KEEP * (1 - seen), small[:, 3:])


def _train(
    network: FeatureModel,
    views: Sequence[_View],
    side: int | None,
    options: AdaptOptions,
    generator: torch.Generator,
) -> None:
    """Train what lies behind the features, but for the layers that see the whole picture."""
    network.requires_grad_(True)
    network.from_features(views[0].features).sum().backward()
    trained = [
        each
        for name, each in network.named_parameters()
        if each.grad is not None and "context." not in name
    ]
    network.zero_grad()
    first = [each.detach().clone() for each in trained]
    weights = [view.weight * (1 - view.known * view.left_out(side)) for view in views]
    optimizer = torch.optim.Adam(trained, lr=options.rate)
    falling = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.steps + 1, pct_start=0.1
    )
    for _ in range(options.steps):
        lead = views[int(torch.randint(len(views), (), generator=generator))]
        alike = [i for i, each in enumerate(views) if each.goal.shape == lead.goal.shape]
        order = torch.randperm(len(alike), generator=generator)[:_BATCH].tolist()
        chosen = [alike[i] for i in order]
        features = {
            stride: torch.cat([views[i].features[stride] for i in chosen])
            for stride in lead.features
        }
        goal = torch.cat([views[i].goal for i in chosen])
        weight = torch.cat([weights[i] for i in chosen])
        error = F.huber_loss(network.from_features(features), goal, "none", delta=_HUBER)
        loss = (error * weight).mean()
        way = sum(((w - w0) ** 2).sum() for w, w0 in zip(trained, first, strict=True))
        (loss + options.weight_penalty * way).backward()
        if not loss.isfinite():
            raise TrainingError("the weights do not stay finite; give a lower --rate")
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        falling.step()
        optimizer.zero_grad()


def _even(views: Sequence[_View]) -> list[_View]:
    """Let each view count as much as the others, by its error before the training.

    Without it the stills that the model colors worst decide, and well colored ones get worse.
    """
    errors = []
    for view in views:
        error = F.huber_loss(view.first, view.goal, "none", delta=_HUBER)
        errors.append(float((error * view.weight).mean()))
    mean = sum(errors) / len(errors)
    counts = [mean / max(error, _EVEN * mean, 1e-6) for error in errors]
    return [
        replace(view, weight=count * view.weight) for view, count in zip(views, counts, strict=True)
    ]


def _share(gain: float) -> float:
    """How far a still is learned, 0 to 1, by the gain on what was left out of it, dB.

    Measured on pans over photographs: 13 of 56 had a gain above 5 dB, and all of these were colored
    better afterwards, by 1.8 dB in the mean; with smaller gains, some lost up to 0.7 dB.
    """
    return 0.0 if gain < 0 else min(1.0, _LEAST_SHARE + (1 - _LEAST_SHARE) * gain / _FULL_GAIN)


@torch.no_grad()
def _gain(network: FeatureModel, view: _View, side: int) -> float:
    """What a training has gained on the part that it left out, dB of the squared error of a*b*.

    Below an error of 1 nothing counts.
    """
    weight = view.known * view.left_out(side)
    before, after = (
        float(((predicted - view.goal).square() * weight).sum() / weight.sum().clamp(min=1))
        for predicted in (view.first, network.from_features(view.features))
    )
    return 10 * math.log10((before + 1) / (after + 1))


def _by_shot(
    listed: ShotList, pictures: Sequence[Reference], gains: Sequence[float]
) -> dict[int, float]:
    """Mean gain of the stills of each shot, by its number."""
    found: dict[int, list[float]] = {}
    for picture, gain in zip(pictures, gains, strict=True):
        frame = frame_of(picture.path)
        assert frame is not None  # stills are found by it
        found.setdefault(listed.shots[listed.index(frame)].number, []).append(gain)
    return {number: sum(each) / len(each) for number, each in sorted(found.items())}


@torch.no_grad()
def _distance(network: FeatureModel, views: Sequence[_View], gain: float) -> float:
    """Mean distance of the predictions from the stills, where they say a color."""
    total = weight = 0.0
    for view in views:
        error = (network.from_features(view.features) - view.goal).norm(dim=1, keepdim=True) * gain
        total += float((error * view.known).sum())
        weight += float(view.known.sum())
    return total / max(weight, 1.0)
