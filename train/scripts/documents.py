"""Train what the documents report, one training after the other, in one process.

    python -m train.scripts.documents DATA RUNS [--scale 4] [--rows S4]

DATA holds cifar10-*.zip, photos-train-*.zip and photos2-train-*.zip; RUNS takes the runs. Stopped
at any time, the same command goes on where it was. `python -m train.scripts.tables RUNS` puts the
results into RESULTS.md. Faces (`masks`) stand for the Georgia Tech faces of S4, grocery shelves
for its NCD.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from vidcolor.cli import cli as vidcolor
from vidcolor.errors import VidcolorError
from vidcolor.training.results.report import read_results

_ENDED = ("finished", "stopped early", "diverged")


def trainings(data: Path, runs: Path, scale: int) -> Iterator[tuple[str, str]]:
    """The folder below `runs` and the options of each training, in order.

    At scale 1 there are 5 epochs for the 500 of S4's grids. A run of 500 begins with the same steps
    as those of 100 and 300, so the grids are of 9 runs, which the tables read at 1/5 and 3/5 too.
    """

    def packs(pattern: str, kind: str) -> str:
        files = shlex.join(f"--data={pack}" for pack in sorted(data.glob(pattern)))
        return f"""{files} --set classes='["{kind}"]' --limit {64 * scale}"""

    faces, shelves = packs("photos2-train-*.zip", "masks"), packs("photos-train-*.zip", "grocery")
    small = "--set size=64 --precision bf16"
    horses = f"""--set classes='["horse"]' --limit {250 * scale} --precision bf16"""
    s1 = f"--set size=32 --set fit=stretch --set plateau=1 --limit {200 * scale} --precision bf16"
    s2 = f"--recipe S2 --set test_part=split --limit {500 * scale} --epochs {min(100, 40 * scale)}"
    s4a, s4b = f"--recipe S4a {faces}", f"--recipe S4b {faces} {small}"
    # S4, tables I and II
    yield "S4a", f"{s4a} --epochs {5 * scale} --grid"
    yield "S4a", f"{s4a} --epochs {5 * scale} --variants tanh"
    # S2, the run that diverges, its further experiments, and what its text compares of the grid
    two, four = "--set model_options.layers=2", "--set model_options.kernels=4"
    yield "S2", f"{s2} --grid {two} --set model_options.kernels=8 --lr 10"
    yield "S2", f"{s2} --variants"
    yield "S2", f"{s2} --grid {two} --set model_options.kernels=8"
    yield "S2", f"{s2} --grid --lr 0.1 {four}"
    yield "S2", f"{s2} --grid --lr 0.1 {two}"
    # S3, questions 1 (b), 1 (d), 2 (c) and 2 (d)
    yield "S3a", f"--recipe S3a {horses} --variants horses,affine"
    yield "S3b", f"--recipe S3b {horses} --grid"
    # S1
    yield "S1a", f"--recipe S1a --data cifar10 {s1} --epochs {4 * scale} --variants"
    # S4, tables III and IV
    yield "S4b", f"{s4b} --epochs {5 * scale} --grid"
    # S4, tables V and VI: the faces' weights, trained on at 1e-3, twice as long as the longest run
    further = f"{shelves} --epochs {10 * scale} --lr 1e-3 --init"
    best = f"{runs}/S4a/grid/variant=2,lr=1e-05,epochs={5 * scale}"
    yield "S4a-transfer-relu", f"--recipe S4a {further} {best}/weights.safetensors"
    tanh = f"--set model_options.activation=tanh {further} {runs}/S4a/variants/tanh"
    yield "S4a-transfer-tanh", f"--recipe S4a {tanh}/weights.safetensors"
    for name in ("sigmoid", "tanh"):
        best = f"{runs}/S4b/grid/activation={name},lr=0.001,epochs={5 * scale}/weights.safetensors"
        changes = f"{small} --set model_options.activation={name}"
        yield f"S4b-transfer-{name}", f"--recipe S4b {changes} {further} {best}"
    # S4, table II: the fully connected network, 1/100 of its 100 epochs
    connected = """--set model=mean_chroma_fc --set 'model_options={ activation = "relu" }'"""
    yield "S4a-connected", f"{s4a} {connected} --epochs {scale}"
    # S0
    yield "S0", f"--recipe S0 --limit {200 * scale}"
    # S2, all 45 runs; then on the whole shard, where a single layer has no number of kernels
    yield "S2", f"{s2} --grid"
    large = "--recipe S2 --set test_part=split --limit 0 --epochs 30 --grid --set model_options"
    yield "S2-large", f"{large}.layers=1 --set model_options.kernels=2"
    yield "S2-large", f"{large}.layers=2"
    yield "S2-large", f"{large}.layers=4"


def train(folder: Path, options: str, data: Path) -> None:
    """Run `vidcolor train` with the output `folder`; grids skip by themselves what is done."""
    results = folder / "results.json"
    if results.is_file() and read_results(results)["status"] in _ENDED:
        return
    here = ["--data-root", str(data), "--device", "cpu", "--threads", "1", "-o", str(folder)]
    arguments = ["train", *shlex.split(options), *here]
    if not {"--grid", "--variants"} & set(arguments):
        arguments.append("--resume-or-begin")
    print(time.strftime("%H:%M:%S"), shlex.join(["vidcolor", *arguments]), flush=True)
    sys.argv[1:] = arguments  # results.json names the command
    try:
        vidcolor.main(arguments, standalone_mode=False)
    except (VidcolorError, click.ClickException) as error:
        print(f"{folder}: {error}", flush=True)  # the others do not need it
    except SystemExit as error:
        if error.code != 1:  # it was stopped; 1: a run of a grid failed, which was printed
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--scale", type=int, default=1, help="factor on pictures and epochs")
    parser.add_argument("--rows", default="S", help="what the names of the runs begin with")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = tuple(given.rows.split(","))
    for name, options in trainings(given.data, given.runs, given.scale):
        if name.startswith(rows):
            train(given.runs / name, options, given.data)


if __name__ == "__main__":
    main()
