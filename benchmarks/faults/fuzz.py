"""Mutated films, pictures, weights, recipes and checkpoints.

Films and pictures are worked on in folders; where a folder's run ends badly, its files are tried
one by one. Everything else has a run of its own.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.weights import save_weights
from vidcolor.training.recipe_file import shipped_recipes

from .inputs import FORMATS, KINDS, OPTIONS, Shelf, count_packets, picture_digest, reports
from .mutate import mutate_bytes, mutate_recipe, mutate_safetensors, mutate_values
from .process import Arguments, Run
from .tally import Tally

_FOLDER = 20  # files in a run
_LIMITS = {resource.RLIMIT_AS: 12 << 30}
# How many of all inputs are of each kind.
SHARES = {"films": 0.3, "pictures": 0.4, "weights": 0.15, "recipes": 0.1, "checkpoints": 0.05}


def fuzz(shelf: Shelf, count: int, chance: random.Random, kinds: Sequence[str] = ()) -> Tally:
    """Work on about `count` mutated inputs."""
    tally = Tally("fuzz")
    for kind, share in SHARES.items():
        if not kinds or kind in kinds:
            number = max(1, round(count * share))
            _KINDS[kind](shelf, tally, number, chance)
            tally.count("inputs", number)
            tally.figures[f"inputs_{kind}"] = number
    return tally


def _media(
    shelf: Shelf, tally: Tally, count: int, chance: random.Random, names: Sequence[str]
) -> None:
    seeds = [path for path in shelf.kinds() if path.name in names]
    for first in range(0, count, _FOLDER):
        folder = shelf.fresh("mutants")
        for number in range(first, min(first + _FOLDER, count)):
            seed = seeds[number % len(seeds)]
            data = mutate_bytes(seed.read_bytes(), chance)
            (folder / f"{number:04}_{seed.stem}{seed.suffix}").write_bytes(data)
        if _colorize(shelf, tally, folder):
            continue
        for path in sorted(folder.iterdir()):
            if not _colorize(shelf, tally, path):
                kept = shelf.folder / "bad"
                kept.mkdir(exist_ok=True)
                shutil.copy(path, kept / path.name)


def _films(shelf: Shelf, tally: Tally, count: int, chance: random.Random) -> None:
    _media(shelf, tally, count, chance, tuple(KINDS))


def _pictures(shelf: Shelf, tally: Tally, count: int, chance: random.Random) -> None:
    _media(shelf, tally, count, chance, [f"picture.{each}" for each in FORMATS])


def _colorize(shelf: Shelf, tally: Tally, source: Path) -> bool:
    """Run a folder of mutants, or one; whether nothing is wrong."""
    output = shelf.fresh("mutants' output")
    command: Arguments = ["run", source, "-o", f"{output}/", *OPTIONS, "--json", "-q"]
    ended = Run(command, shelf.logs, limits=_LIMITS).wait(60 if source.is_file() else 300)
    count = len(list(source.iterdir())) if source.is_dir() else 1
    found = reports(ended.out)
    good = tally.ended(f"mutants {source.name}", ended, lines=4 * count + 10)
    if good and len(found) < count:
        tally.fault("unexplained_exits", f"{source.name}: {len(found)} of {count} reports")
        good = False
    for report in found:
        line = f"{report['input']}: {report['status']}: {report['error']}"
        if "fault of vidcolor" in report["error"]:
            tally.fault("unexplained_exits", line)
            good = False
        if report["status"] in ("done", "incomplete"):
            tally.count("done" if report["status"] == "done" else "incomplete")
            if not _is_whole(Path(report["output"]), report["frames"]):
                tally.fault("wrong_files", f"{line}: the output is not whole")
                good = False
    tally.nothing_left(f"mutants {source.name}", output)
    return good


def _is_whole(path: Path, frames: int) -> bool:
    if path.suffix.lower().lstrip(".") in FORMATS:
        return bool(picture_digest(path))
    return count_packets(path) == frames


def _weights(shelf: Shelf, tally: Tally, count: int, chance: random.Random) -> None:
    folder = shelf.fresh("weights")
    (picture,) = (path for path in shelf.kinds() if path.name == "picture.png")
    network = create_model("skip_cnn")
    seed = folder / "seed.safetensors"
    save_weights(seed, network.state_dict(), Entry("skip_cnn", input_size=32), torch.float32)
    data = seed.read_bytes()
    for number in range(count):
        mutant = folder / f"{number:04}.safetensors"
        mutant.write_bytes(mutate_safetensors(data, chance))
        output = shelf.fresh("weights' output")
        command: Arguments = ["run", picture, "-o", output / "out.png", "--weights", mutant]
        ended = Run([*command, "--device", "cpu"], shelf.logs, limits=_LIMITS).wait(60)
        tally.ended(f"weights {mutant.name}", ended)
        if ended.code == 0:
            tally.count("weights_taken")
        tally.nothing_left(f"weights {mutant.name}", output)


def _recipes(shelf: Shelf, tally: Tally, count: int, chance: random.Random) -> None:
    folder = shelf.fresh("recipes")
    texts = [path.read_text(encoding="utf-8") for path in shipped_recipes().values()]
    for number in range(count):
        mutant = folder / f"{number:04}.toml"
        mutant.write_bytes(mutate_recipe(chance.choice(texts), chance))
        # a recipe that is still good goes as far as to its pictures
        command: Arguments = ["train", "--recipe", mutant, "-o", folder / "out"]
        command += ["--data", folder / "nowhere", "--device", "cpu"]
        ended = Run(command, shelf.logs, limits=_LIMITS).wait(60)
        tally.ended(f"recipe {mutant.name}", ended, (1, 2))


def _checkpoints(shelf: Shelf, tally: Tally, count: int, chance: random.Random) -> None:
    folder = shelf.fresh("checkpoints")
    command: Arguments = ["train", "--recipe", "S0", "--data", shelf.colors(), "--device", "cpu"]
    command += ["--set", "size=16", "--set", "batch_size=4", "--set", "input_size=16"]
    begun = folder / "begun"
    ended = Run([*command, "--epochs", "1", "-o", begun], shelf.logs).wait(200)
    if not tally.ended("a training", ended, (0,)):
        return
    for number in range(count):
        mutant = shelf.fresh("checkpoints/mutant")
        shutil.copytree(begun, mutant, dirs_exist_ok=True)
        names = ("checkpoint-*.json", "checkpoint-*.safetensors", "split.json", "recipe.toml")
        pattern = chance.choice((*names[:2], names[0], *names))
        target = chance.choice(sorted(mutant.glob(pattern)))
        if target.suffix == ".json" and chance.random() < 0.8:
            values = json.loads(target.read_text(encoding="utf-8"))
            target.write_text(mutate_values(values, chance), encoding="utf-8")
        elif target.suffix == ".safetensors":
            target.write_bytes(mutate_safetensors(target.read_bytes(), chance))
        else:
            target.write_bytes(mutate_bytes(target.read_bytes(), chance))
        again: Arguments = ["train", "--resume", "--epochs", "2", "-o", mutant, "--device", "cpu"]
        ended = Run(again, shelf.logs, limits=_LIMITS).wait(100)
        tally.ended(f"checkpoint {number} ({target.name})", ended)
        if ended.code == 0:
            tally.count("checkpoints_taken")


_KINDS: dict[str, Callable[[Shelf, Tally, int, random.Random], None]] = {
    "films": _films,
    "pictures": _pictures,
    "weights": _weights,
    "recipes": _recipes,
    "checkpoints": _checkpoints,
}
