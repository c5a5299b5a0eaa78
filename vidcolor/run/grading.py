"""The grading of a film as LUTs for other programs: `write_luts`."""

from __future__ import annotations

from pathlib import Path

from ..color.adjust import ColorAdjustment
from ..color.cube import cube
from ..errors import OutputError
from ..system.files import replacing
from .colorizer import Colorizer


def write_luts(folder: Path, colorizer: Colorizer, *, overwrite: bool = False) -> list[Path]:
    """Write what is done to the predicted colors: `all.cube`, what the run does everywhere, and
    with a list of shots `shot_0012.cube`, all that is done in a shot which has settings of its own.

    Args:
        folder: is made if it is missing.
        colorizer: with the adjustment and the shots.
        overwrite: replace existing files.

    Returns:
        The files; none where nothing is done.

    Raises:
        OutputError: another file of a name exists, or it cannot be written.
    """
    usual = colorizer.options.adjustment
    found = {"all.cube": usual} if usual != ColorAdjustment() else {}
    for shot in colorizer.shots.shots if colorizer.shots else ():
        own = ColorAdjustment(saturation=0) if shot.skip else shot.adjustment(usual)
        if own != usual:
            found[f"shot_{shot.number:04d}.cube"] = own
    texts = {folder / name: cube(each, Path(name).stem) for name, each in found.items()}
    for path, text in texts.items():  # an earlier film, or run of the same command, has made them
        if path.exists() and not overwrite and path.read_text("ascii", "replace") != text:
            raise OutputError(f"{path}: already exists; give --overwrite to replace it")
    for path, text in texts.items():
        with replacing(path) as part:
            part.write_text(text, encoding="ascii")
    return list(texts)
