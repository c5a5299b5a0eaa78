"""Check a folder of shots before hours of work: what is wrong with its stills, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..color.convert import rgb_to_lab
from ..models import FeatureModel
from ..run.colorizer import Colorizer
from ..run.references.gray_places import left_gray
from ..run.references.palette import GRAY, Palette, Places, places_of
from ..run.references.shot_list import Shot, ShotList
from ..run.references.stills import Still, colored_stills, find_stills, laid, to_reference
from ..system.opencv import opencv

_SHIFT = 1.0  # pixels of the frame that a still may be off
_GRAY_SHARE = 0.02  # share of a still that may be left gray
_STRANGE, _REDRAWN = 8.0, 0.05  # difference in L* after fitting, and share of the still that has it
_ALIKE, _APART = 0.8, 15.0  # trust from which on places are compared, and difference in a*b*
_LEAST_ALIKE = 0.1  # share of the places that must be alike


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: `missing`, `gray`, `shifted`, `redrawn`, `unplaced` or `disagreeing`.
        shot: number of the shot.
        still: file name of the still, empty for none.
        text: one line with the cause and the remedy.
    """

    kind: str
    shot: int
    still: str
    text: str


def check_shots(
    listed: ShotList,
    colorizer: Colorizer,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """Check the stills of a folder.

    Args:
        listed: its shots.
        colorizer: the model that will run, whose features compare the stills.
        on_progress: called with the stills that are done, and their number.

    Returns:
        What was found, by shot.

    Raises:
        InputError: a still cannot be read.
    """
    found: list[Finding] = []
    places: dict[int, Places] = {}  # by frame
    names: dict[int, str] = {}
    total = len(find_stills(listed.folder, len(listed.film.pts)))
    for done, still in enumerate(colored_stills(listed), 1):
        shot = listed.shots[listed.index(still.frame)]
        names[still.frame] = still.path.name
        if isinstance(colorizer.model, FeatureModel):
            reference = to_reference(still, colorizer.shrink)
            places[still.frame] = places_of(reference, colorizer.describe, colorizer.device)
        found += _of_one(still, shot, places.get(still.frame), listed)
        on_progress(done, total)
    found += _missing(listed, set(names))
    found += _disagreeing(listed, places, names)
    order = {shot.number: i for i, shot in enumerate(listed.shots)}
    return sorted(found, key=lambda each: order[each.shot])


def _of_one(still: Still, shot: Shot, places: Places | None, listed: ShotList) -> Iterator[Finding]:
    name = still.path.name

    def finding(kind: str, text: str) -> Finding:
        return Finding(kind, shot.number, name, f"{name}: {text}")

    if places is not None:
        share = float(left_gray([places])[0].float().mean())
        if share > _GRAY_SHARE:
            yield finding(
                "gray",
                f"{share:.0%} of it seems left gray; color it, or keep it as it is and the colors "
                "of similar places are taken (--reference-gray keep: it is meant to be gray)",
            )
    if still.gray is None or still.place is None:
        yield finding(
            "unplaced",
            f"there is no gray copy of frame {still.frame} to compare it with; color one of the "
            "stills that 'vidcolor shots' wrote",
        )
        return
    longer = max(listed.film.width, listed.film.height)
    if still.place.shift * longer > _SHIFT:
        yield finding(
            "shifted",
            f"is shifted or scaled by up to {still.place.shift * longer:.0f} pixels; it will be "
            "moved back, but its border is lost: export it without cropping",
        )
    strange = _strange_share(still)
    if strange > _REDRAWN:
        yield finding(
            "redrawn",
            f"{strange:.0%} of it differs from the film in lightness; only its colors count, so "
            "check that they belong to what the film shows, or color it with less freedom",
        )


def _strange_share(still: Still) -> float:
    """Share of a still whose lightness is not that of its frame, however brightness is mapped."""
    assert still.gray is not None
    rgb, opacity = laid(still)
    size = still.gray.shape
    resized = torch.nn.functional.interpolate(
        torch.cat([rgb_to_lab(rgb)[:, :1], opacity], 1), size, mode="bilinear", antialias=True
    )[0].numpy()
    film, own, known = still.gray, resized[0], resized[1] > 0.5
    # the usual tone of the still for each tone of the film
    tone = np.clip(film, 0, 99.9).astype(int) // 5
    usual = np.array(
        [np.median(own[k]) if (k := known & (tone == t)).any() else 0 for t in range(20)]
    )
    smooth = np.interp(film, np.arange(20) * 5 + 2.5, usual)
    cv2 = opencv()

    off = cv2.blur((own - smooth).astype(np.float32), (5, 5))
    return float((np.abs(off)[known] > _STRANGE).mean()) if known.any() else 0.0


def _missing(listed: ShotList, frames: set[int]) -> Iterator[Finding]:
    """Shots that get no color of any still."""
    own = {listed.index(frame) for frame in frames}
    setups = {listed.shots[i].setup for i in own} - {None}
    files = find_stills(listed.folder, len(listed.film.pts))
    for i, shot in enumerate(listed.shots):
        if i in own or shot.setup in setups or shot.skip or shot.strength == 0:
            continue
        here = [
            path.name
            for frame, paths in files.items()
            if listed.index(frame) == i
            for path in paths
        ]
        what = f"color {here[0]}" if here else "color a still of it"
        yield Finding(
            "missing",
            shot.number,
            "",
            f"shot {shot.number} (frames {shot.first} to {shot.last}): no still of it or its "
            f"set-up is colored, so the model colors it alone; {what}",
        )


def _disagreeing(
    listed: ShotList, places: dict[int, Places], names: dict[int, str]
) -> Iterator[Finding]:
    """Neighboring stills of a shot or set-up that give one thing two colors."""
    groups: dict[tuple[str, int], list[int]] = {}
    for frame in places:
        i = listed.index(frame)
        setup = listed.shots[i].setup
        groups.setdefault(("shot", i) if setup is None else ("setup", setup), []).append(frame)
    for frames in groups.values():
        for one, two in pairwise(sorted(frames)):
            apart = _distance(places[one], places[two])
            if apart is not None and apart > _APART:
                shot = listed.shots[listed.index(two)].number
                yield Finding(
                    "disagreeing",
                    shot,
                    names[two],
                    f"{names[two]}: disagrees with {names[one]}, the same places differ by "
                    f"{apart:.0f} in a*b*; color one after the other, or give the shots different "
                    "'setup' numbers",
                )


def _distance(one: Places, two: Places) -> float | None:
    """Median difference in a*b* of the places that both show; None if they share too few."""
    colors, trust = Palette([one]).match_planes(two.features, [1.0])
    chroma = torch.maximum(colors.norm(dim=1), two.colors.norm(dim=1))
    alike = (trust[:, 0] > _ALIKE) & two.known
    compared = alike & (chroma >= GRAY)
    if float(alike.float().mean()) < _LEAST_ALIKE or not compared.any():
        return None
    return float((colors - two.colors)[compared].norm(dim=1).median())
