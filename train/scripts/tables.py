"""Fill the tables of train/RESULTS.md from the runs of `train/scripts/documents.py`.

    python -m train.scripts.tables [RUNS...]

RESULTS.md is written by hand, but for what stands between `<!-- table: NAME -->` and
`<!-- end -->`.
A cell is the document's figure / ours; a dash means that there is none. Of several folders RUNS, a
run is taken from the last that has it; without one, only the table of the recipes is made anew.
Curves and sheets go into the rows' folders.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.scripts.reported import S1, S2, TABLE_1, TABLE_3
from train.scripts.rows import TRAIN, rows_markdown
from vidcolor.errors import VidcolorError
from vidcolor.training.results.plots import plot_runs
from vidcolor.training.results.report import read_results, write_file
from vidcolor.training.results.tables import cell, duration, finite, table

Run = Mapping[str, Any]
RATES = ("0.001", "0.0001", "1e-05")
EPOCHS = (100, 300, 500)  # of the document's grids; ours are read at the same shares of the run


class Runs:
    """The trainings below some folders.

    Attributes:
        folders: the folders; a run of a later one counts more.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def folder(self, name: str) -> Path | None:
        """The folder of the run `name`, which may end in `*`, that has ended; None without one."""
        found = [
            path for each in self.folders for path in sorted(each.glob(f"{name}/results.json"))
        ]
        ended = [path for path in found if read_results(path)["status"] != "interrupted"]
        return ended[-1].parent if ended else None

    def __call__(self, name: str) -> Run | None:
        """The results of the run `name`; None without it."""
        folder = self.folder(name)
        return read_results(folder / "results.json") if folder else None

    def or_earlier(self, name: str) -> Run | None:
        """The results of the run `name`; without it those of the grid that was kept in its row."""
        if run := self(name):
            return run
        row, kind, combination = name.split("/")
        path = TRAIN / row / f"{kind}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        found = [each for each in known if each["name"] == combination]
        return {**found[0], "best": found[0], "earlier": True} if found else None


def pair(document: float | None, ours: Any, form: str = ".4g") -> str:
    """A cell: the document's figure / ours."""
    return f"{cell(finite(document), form)} / {cell(finite(ours), form)}"


def measure(run: Run | None, key: str, share: float | None = None) -> float | None:
    """A measure of the validation, at the best epoch or after a share of the epochs."""
    if run is None:
        return None
    if share is None or run.get("earlier"):
        return (run.get("best") or {}).get(key)
    epoch = round(share * run["recipe"]["epochs"])
    return next((row.get(key) for row in run["history"] if row["epoch"] == epoch), None)


def tested(run: Run | None, key: str) -> float | None:
    """A measure of the objective on the test part."""
    return ((run or {}).get("test_measures") or {}).get(key)


def scale(runs: Iterable[Run | None]) -> str:
    """What the runs of a table were trained on, and for how long."""
    made = [run for run in runs if run]
    known = [run for run in made if not run.get("earlier")]
    kept = len(made) - len(known)
    earlier = f"{kept} runs of the grid that is kept beside the recipe; the others " if kept else ""
    if not known:
        return "Ours: the grid that is kept beside the recipe." if kept else "Not run yet."
    recipe, data = known[-1]["recipe"], known[-1]["data"]
    repeated = recipe["repeat_augmented"]
    times = f", enlarged {repeated} times" if repeated > 1 else ""
    sources = ", ".join(recipe["classes"] or data["sources"])
    most = max(run["epochs"] for run in known)
    seconds = sum(run["wall_seconds"] for run in known)
    return (
        f"Ours: {earlier}{data['train']:,} pictures ({sources}){times}, "
        f"{data['validation']:,} to validate, {data['test']:,} to test; "
        f"{recipe['size']}x{recipe['size']}, {recipe['precision']}, "
        f"{most} epochs at most; {len(known)} run{'s' * (len(known) > 1)}, together "
        f"{duration(seconds)} of one thread on a machine that other work kept busy."
    )


def grid_of_epochs(
    runs: Runs,
    folder: str,
    key: str,
    document: Mapping[Any, Sequence[Sequence[float]]],
    value: str,
    form: str,
) -> str:
    """Tables I and III: for each choice of `key` a measure by epochs and learning rate."""
    parts, used = [], []
    for choice, figures in document.items():
        row_runs = [runs(f"{folder}/grid/{key}={choice},lr={rate},epochs=*") for rate in RATES]
        used += row_runs
        lines = [
            [
                str(epochs),
                *(
                    pair(theirs, measure(run, value, epochs / EPOCHS[-1]), form)
                    for theirs, run in zip(row, row_runs, strict=True)
                ),
            ]
            for epochs, row in zip(EPOCHS, figures, strict=True)
        ]
        head = ["epochs", *(f"rate {rate}" for rate in RATES)]
        parts.append(f"{key} {choice}:\n\n{table(head, lines)}")
    return "\n\n".join([*parts, scale(used)])


def measured_table(
    runs: Runs, rows: Mapping[str, tuple[str, Sequence[float]]], keys: Sequence[str]
) -> str:
    """Tables II, IV, V and VI: measures of the test part for each network."""
    found = {label: runs(name) for label, (name, _) in rows.items()}
    lines = []
    for label, (_, figures) in rows.items():
        run = found[label]
        ours = [tested(run, key) for key in keys]
        cells = [pair(theirs, our) for theirs, our in zip(figures, ours, strict=True)]
        settings = ["-", "-"]
        if run:
            settings = [cell(run["recipe"]["lr"]), cell(run["epochs"])]
        lines.append([label, *cells, *settings])
    head = ["network", *(key.replace("_", " ") for key in keys), "our rate", "our epochs"]
    return f"{table(head, lines)}\n\n{scale(found.values())}"


def s2(runs: Runs) -> str:
    parts, used = [], {}
    for question, rows in S2.items():
        lines = []
        for label, (name, figures) in rows.items():
            run = used[name] = runs.or_earlier(f"S2/{name}")
            theirs = figures or (None,) * 4
            lost = run is not None and run["status"] == "diverged"
            keys = ("train_loss", "loss", "margin_error")
            ours = ["diverged" if lost else cell(measure(run, key)) for key in keys]
            chosen = f"{run['epochs']} run" if run and run.get("earlier") else None
            epochs = pair(theirs[0], run and run.get("best_epoch"), ".0f")
            epochs = f"{cell(theirs[0])} / {chosen}" if chosen else epochs
            cells = [f"{cell(t)} / {o}" for t, o in zip(theirs[1:], ours, strict=True)]
            lines.append([label, epochs, *cells])
        name = question.partition(" (")[0]
        head = [name, "epochs chosen", "training loss", "validation loss", "12-margin error"]
        parts.append(f"{question}:\n\n{table(head, lines)}")
    return "\n\n".join([*parts, scale(used.values())])


def s2_grid(runs: Runs) -> str:
    """The 45 runs, as 12-margin errors by rate: on the whole shard, if these were run."""
    rates = ("0.0001", "0.001", "0.01", "0.1", "10.0")
    large = runs("S2-large/grid/*") is not None
    lines, used = [], []
    for layers in (1, 2, 4):
        for kernels in (2, 4, 8):
            # one layer leads straight to R'G'B': its number of kernels changes nothing
            trained = 2 if large and layers == 1 else kernels
            stem = f"{'S2-large' if large else 'S2'}/grid/layers={layers},kernels={trained}"
            row = [runs.or_earlier(f"{stem},lr={rate}") for rate in rates]
            used += row if trained == kernels else []
            texts = [
                "diverged"
                if run and run["status"] == "diverged"
                else cell(measure(run, "margin_error"))
                for run in row
            ]
            lines.append([str(layers), str(kernels), *texts])
    head = ["layers", "kernels", *(f"rate {rate.removesuffix('.0')}" for rate in rates)]
    return f"{table(head, lines)}\n\n{scale(used)}"


def s3_networks(runs: Runs) -> str:
    rows = {
        "CNN": ("S3a", "S3a/variants/horses", (1.598, 0.409)),
        "U-Net": ("S3b", "S3b/grid/batch_size=100", (1.383, 0.485)),
    }
    lines, used = [], []
    for label, (name, horse, (loss, accuracy)) in rows.items():
        committed = read_results(TRAIN / name / "results.json")
        horses = runs(horse)
        used.append(horses)
        lines.append(
            [
                label,
                pair(loss, measure(committed, "loss")),
                pair(accuracy, measure(committed, "accuracy")),
                pair(loss, measure(horses, "loss")),
                pair(accuracy, measure(horses, "accuracy")),
            ]
        )
    head = ["network", "loss, all classes", "accuracy, all", "loss, horses", "accuracy, horses"]
    return f"{table(head, lines)}\n\nHorses. {scale(used)}"


def s3_affine(runs: Runs) -> str:
    found = {"x": runs("S3a/variants/horses"), "10 x + 10": runs("S3a/variants/affine")}
    lines = []
    for label, run in found.items():
        ends = [measure(run, key, 1.0) for key in ("train_loss", "loss", "accuracy")]
        lines.append([label, *map(cell, ends)])
    head = ["pictures", "training loss", "validation loss", "accuracy"]
    return f"After the last epoch:\n\n{table(head, lines)}\n\n{scale(found.values())}"


def s3_batches(runs: Runs) -> str:
    sizes = (10, 50, 100, 200)
    found = {size: runs(f"S3b/grid/batch_size={size}") for size in sizes}
    if not any(found.values()):  # all of one kind: the kept ones are of all classes
        found = {size: runs.or_earlier(f"S3b/grid/batch_size={size}") for size in sizes}
    lines = []
    for size, run in found.items():
        losses = [measure(run, key, 1.0) for key in ("train_loss", "loss", "accuracy")]
        best = measure(run, "loss")
        seconds = (run or {}).get("wall_seconds", (run or {}).get("seconds"))
        lines.append([str(size), *map(cell, [*losses, best]), duration(seconds)])
    head = ["batch", "training loss", "validation loss", "accuracy", "best validation loss", "time"]
    return f"{table(head, lines)}\n\n{scale(found.values())}"


def s1(runs: Runs) -> str:
    lines, used = [], []
    for label, name in S1.items():
        run = runs(f"S1a/variants/{name}")
        used.append(run)
        history = run["history"] if run else []
        rates = dict.fromkeys(cell(row["lr"]) for row in history)
        losses = [row["loss"] for row in history]
        test = (((run or {}).get("test") or {}).get("rows") or [{}])[-1]
        figures = [losses[0] if losses else None, measure(run, "loss")]
        figures += [test.get("psnr_over_gray"), test.get("colorfulness")]
        lines.append([label, ", ".join(rates) or "-", *map(cell, figures)])
    head = ["run", "rates used", "first loss", "best loss", "dB over gray", "colorfulness"]
    return f"{table(head, lines)}\n\n{scale(used)}"


def s0(runs: Runs) -> str:
    run = runs("S0")
    if run is None:
        return scale([])
    lines = [
        ["epochs", "30, stop at 15 to 20 expected", cell(run["epochs"])],
        ["best epoch", "-", cell(run["best_epoch"])],
        ["ended", "-", f"{run['status']}: {run['reason']}"],
        ["validation loss", "-", cell(measure(run, "loss"))],
        ["PSNR of its own test pictures, dB", "20 to 25", cell(tested(run, "psnr"))],
        ["time", "about 1,200 s", duration(run["wall_seconds"])],
    ]  # fmt: skip
    return f"{table(['', 'document', 'ours'], lines)}\n\n{scale([run])}"


TABLES: dict[str, Callable[[Runs], str]] = {
    "rows": lambda _: rows_markdown(TRAIN),
    "S0": s0,
    "S1": s1,
    "S2": s2,
    "S2 grid": s2_grid,
    "S3 networks": s3_networks,
    "S3 affine": s3_affine,
    "S3 batches": s3_batches,
    "S4 I": lambda runs: grid_of_epochs(runs, "S4a", "variant", TABLE_1, "loss", ".3g"),
    "S4 II": lambda runs: measured_table(
        runs,
        {
            "Fully connected": ("S4a-connected", (0.000468, 0.000459)),
            "CNN with ReLU": ("S4a/grid/variant=2,lr=1e-05,epochs=*", (6.2262e-05, 0.000172)),
            "CNN with Tanh": ("S4a/variants/tanh", (4.40178e-05, 0.000129)),
        },
        ("mse_a", "mse_b"),
    ),
    "S4 III": lambda runs: grid_of_epochs(runs, "S4b", "activation", TABLE_3, "psnr_ab", ".2f"),
    "S4 IV": lambda runs: measured_table(
        runs,
        {
            f"Colorizer with {name.title()}": (f"S4b/grid/activation={name},lr=0.001,epochs=*", row)
            for name, row in (
                ("sigmoid", (0.000339, 0.000406, 34.69402, 33.90814)),
                ("tanh", (0.000222, 0.000380, 36.5217, 34.1997)),
            )
        },
        ("mse_a", "mse_b", "psnr_a", "psnr_b"),
    ),
    "S4 V": lambda runs: measured_table(
        runs,
        {
            "CNN regressor with ReLU": ("S4a-transfer-relu", (0.00134, 0.00094)),
            "CNN regressor with Tanh": ("S4a-transfer-tanh", (0.00164, 0.00098)),
        },
        ("mse_a", "mse_b"),
    ),
    "S4 VI": lambda runs: measured_table(
        runs,
        {
            "Colorizer with Sigmoid": (
                "S4b-transfer-sigmoid", (0.005042, 0.003354, 22.97336, 24.74351, 0.706159, 0.80465),
            ),
            "Colorizer with Tanh": (
                "S4b-transfer-tanh", (0.00332, 0.00299, 24.7877, 25.2298, 0.80334, 0.83706),
            ),
        },
        ("mse_a", "mse_b", "psnr_a", "psnr_b", "ssim_a", "ssim_b"),
    ),
}  # fmt: skip
# plots of several runs: file below train/, measures, runs by label
CURVES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    **{
        f"S2/{question.split()[0]}.png": (
            ("loss", "margin_error"), {label: f"S2/{name}" for label, (name, _) in rows.items()},
        )
        for question, rows in S2.items()
    },
    "S3a/affine.png": (("loss",), {"x": "S3a/variants/horses", "10 x + 10": "S3a/variants/affine"}),
    "S3b/horses.png": (
        ("loss", "accuracy"),
        {"CNN": "S3a/variants/horses", "U-Net": "S3b/grid/batch_size=100"},
    ),
    "S3b/batches.png": (
        ("loss", "accuracy"),
        {f"batch {size}": f"S3b/grid/batch_size={size}" for size in (10, 50, 100, 200)},
    ),
    "S1a/runs.png": (("loss",), {label: f"S1a/variants/{name}" for label, name in S1.items()}),
    "S4a/rates.png": (
        ("loss",),
        {
            f"CNN{variant}, rate {rate}": f"S4a/grid/variant={variant},lr={rate},epochs=*"
            for variant in TABLE_1
            for rate in RATES
        },
    ),
    "S4a/networks.png": (
        ("loss",),
        {
            "fully connected": "S4a-connected",
            "ReLU": "S4a/grid/variant=2,lr=1e-05,epochs=*",
            "Tanh": "S4a/variants/tanh",
            "ReLU, transfer": "S4a-transfer-relu",
            "Tanh, transfer": "S4a-transfer-tanh",
        },
    ),
    "S4b/networks.png": (
        ("loss", "psnr_ab"),
        {
            **{n: f"S4b/grid/activation={n},lr=0.001,epochs=*" for n in ("sigmoid", "tanh")},
            **{f"{n}, transfer": f"S4b-transfer-{n}" for n in ("sigmoid", "tanh")},
        },
    ),
}  # fmt: skip
# a run that several questions compare has one sheet
_S2_SHEETS = {
    name: f"S2/{question.split()[0]}-{label}"
    for question, rows in reversed(S2.items())
    for label, (name, figures) in rows.items()
    if figures
}
# sheets: ROW and name below train/ROW/sheets, run
SHEETS = {
    **{file: f"S2/{name}" for name, file in _S2_SHEETS.items()},
    "S3a/horses": "S3a/variants/horses",
    "S3b/horses": "S3b/grid/batch_size=100",
    **{f"S3b/batch-{n}": f"S3b/grid/batch_size={n}" for n in (10, 50, 100, 200)},
    **{f"S4b/{n}": f"S4b/grid/activation={n},lr=0.001,epochs=*" for n in ("sigmoid", "tanh")},
    **{f"S4b/transfer-{n}": f"S4b-transfer-{n}" for n in ("sigmoid", "tanh")},
}


# pictures below a table: files below train/, curves in sight and sheets as links
SHOWN = {
    "S1": ("S1a/runs.png",),
    "S2": (*(file for file in CURVES if file.startswith("S2/")), "S2/sheets/*.webp"),
    "S3 networks": ("S3b/horses.png", "S3?/sheets/horses.webp"),
    "S3 affine": ("S3a/affine.png",),
    "S3 batches": ("S3b/batches.png", "S3b/sheets/batch-*.webp"),
    "S4 I": ("S4a/rates.png",),
    "S4 II": ("S4a/networks.png",),
    "S4 IV": ("S4b/networks.png", "S4b/sheets/[st]*.webp"),
    "S4 VI": ("S4b/sheets/transfer-*.webp",),
}


def put_tables(text: str, tables: Mapping[str, str]) -> str:
    """`text` with `tables` put into their marked places.

    Raises:
        SystemExit: a table has no place.
    """
    for name, content in tables.items():
        mark = f"<!-- table: {name} -->\n"
        before, found, rest = text.partition(mark)
        _, end, after = rest.partition("<!-- end -->")
        if not found or not end:
            sys.exit(f"RESULTS.md has no place for the table {name}")
        text = f"{before}{mark}\n{content.strip()}\n\n{end}{after}"
    return text


def write_pictures(runs: Runs) -> None:
    """Write curves and sheets of the runs that are there."""
    from PIL import Image

    for file, (measures, names) in CURVES.items():
        found = {label: run["history"] for label, name in names.items() if (run := runs(name))}
        if len(found) > 1:
            plot_runs(found, measures, TRAIN / file, file.removesuffix(".png"))
    for file, name in SHEETS.items():
        folder = runs.folder(name)
        row, _, label = file.partition("/")
        sheets = sorted((folder / "sheets").glob("*.png")) if folder else []
        named = {path.stem: path for path in sheets}
        chosen = {"": next((path for path in reversed(sheets) if "epoch" in path.stem), None)}
        if row == "S4b":
            chosen |= {f"-{part}": named.get(part) for part in ("train", "test")}
        for part, path in chosen.items():
            target = TRAIN / row / "sheets" / f"{re.sub('[ ,]+', '-', label)}{part}.webp"
            if path:
                target.parent.mkdir(exist_ok=True)
                with Image.open(path) as sheet:  # five pictures are enough, as in the documents
                    sheet.crop((0, 0, sheet.width, sheet.height // 2)).save(target, quality=80)


def shown(name: str) -> str:
    """The pictures of the table `name` that are there: curves, then links to the sheets."""
    files = [path for pattern in SHOWN.get(name, ()) for path in sorted(TRAIN.glob(pattern))]
    paths = [path.relative_to(TRAIN).as_posix() for path in files]
    curves = [f"![{path}]({path})" for path in paths if path.endswith(".png")]
    sheets = [f"[{Path(path).stem}]({path})" for path in paths if path.endswith(".webp")]
    if curves:
        curves.append("Dashed: the training part.")
    lines = [*curves, f"Sheets: {', '.join(sheets)}" if sheets else ""]
    return "\n\n".join(line for line in lines if line)


def main() -> None:
    runs = Runs([Path(folder) for folder in sys.argv[1:]])
    path = TRAIN / "RESULTS.md"
    wanted = TABLES if runs.folders else ["rows"]
    try:
        write_pictures(runs)
        tables = {name: f"{TABLES[name](runs)}\n\n{shown(name)}" for name in wanted}
        write_file(path, put_tables(path.read_text(encoding="utf-8"), tables))
    except VidcolorError as error:
        sys.exit(str(error))
    print(path)


if __name__ == "__main__":
    main()
