"""Weights for one film, from a few of its stills in color: `adapt`.

The encoder stays as it is, and its features are computed once. The decoder learns the colors of the
stills, tethered twice: a penalty on the way of its weights from the first ones, and the first
weights' own colors as the goal wherever a still says nothing (L2-SP: Li, Grandvalet, Davoine 2018,
"Explicit inductive bias for transfer learning"; distillation: Hinton, Vinyals, Dean 2015).
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
from .options import AdaptOptions

LEAST, MOST = 4, 64  # stills
_BATCH = 4
_CROPS = 2  # of each still, beside itself and its mirror image
_KEEP = 0.2  # weight of the first weights' own colors, where no still says another
_HUBER = 5.0  # of a*b*, where the loss turns from square to straight


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        output: the weights.
        stills: number of stills that were learned from.
        before, after: mean distance of the network's a*b* from the stills' own.
    """

    output: Path
    stills: int
    before: float
    after: float


@dataclass(frozen=True)
class _View:
    """A still as it is seen in training.

    Attributes:
        features: of the encoder.
        goal: `(1, 2, h, w)` what the network is to predict, in its own units.
        known: `(1, 1, h, w)` where the goal is the still's own color, 0 to 1.
    """

    features: dict[int, Tensor]
    goal: Tensor
    known: Tensor


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
    if len(pictures) < LEAST:
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
        views = [
            view
            for picture in pictures
            for view in _views(network, picture, colorizer, entry.chroma_gain, generator)
        ]
    own = views[:: 2 + _CROPS]
    before = _distance(network, own, entry.chroma_gain)
    _train(network, views, options, generator)
    after = _distance(network, own, entry.chroma_gain)
    if not math.isfinite(after):
        raise TrainingError("the weights do not stay finite; give a lower --rate")
    name = colorizer.shots.film.path.name if colorizer.shots else ""
    entry = replace(
        entry, file="", sha256="", shards={}, metrics={},
        recipe=f"adapted from '{colorizer.name}' to {len(pictures)} stills",
        data=f"stills of {name}; before: {entry.data}",
    )  # fmt: skip
    save_weights(output, network.state_dict(), entry, torch.float32)
    return Adapted(output, len(pictures), before, after)


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
    planes = torch.cat([lightness, lab[:, 1:], known * picture.opaque.to(device)], dim=1)
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
        seen = small[:, 2:]
        goal = seen * small[:, :2] / gain + (1 - seen) * first
        yield _View(features, goal, seen)


def _train(
    network: FeatureModel,
    views: Sequence[_View],
    options: AdaptOptions,
    generator: torch.Generator,
) -> None:
    """Train what lies behind the features."""
    network.requires_grad_(True)
    network.from_features(views[0].features).sum().backward()
    trained = [each for each in network.parameters() if each.grad is not None]
    network.zero_grad()
    first = [each.detach().clone() for each in trained]
    optimizer = torch.optim.Adam(trained, lr=options.rate)
    falling = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.steps + 1, pct_start=0.1
    )
    for _ in range(options.steps):
        lead = views[int(torch.randint(len(views), (), generator=generator))]
        alike = [each for each in views if each.goal.shape == lead.goal.shape]
        order = torch.randperm(len(alike), generator=generator)[:_BATCH].tolist()
        batch = [alike[i] for i in order]
        features = {s: torch.cat([each.features[s] for each in batch]) for s in lead.features}
        goal, known = (torch.cat(p) for p in zip(*((v.goal, v.known) for v in batch), strict=True))
        error = F.huber_loss(network.from_features(features), goal, "none", delta=_HUBER)
        loss = (error * (known + _KEEP * (1 - known))).mean()
        way = sum(((w - w0) ** 2).sum() for w, w0 in zip(trained, first, strict=True))
        (loss + options.weight_penalty * way).backward()
        if not loss.isfinite():
            raise TrainingError("the weights do not stay finite; give a lower --rate")
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        falling.step()
        optimizer.zero_grad()


@torch.no_grad()
def _distance(network: FeatureModel, views: Sequence[_View], gain: float) -> float:
    """Mean distance of the predictions from the stills, where they say a color."""
    total = weight = 0.0
    for view in views:
        error = (network.from_features(view.features) - view.goal).norm(dim=1, keepdim=True) * gain
        total += float((error * view.known).sum())
        weight += float(view.known.sum())
    return total / max(weight, 1.0)
