"""Keep a run's results as evidence: results.json, its curves, one sheet and the summary.

    python train/scripts/collect.py runs/S0 S0
    python train/scripts/collect.py runs/S2-grid/grid S2 --grid

Copies what a reader wants to see of a training's output folder into train/NAME/; the weights and
the checkpoints stay where they are.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from vidcolor.training.results.report import read_results, summary_markdown

TRAIN = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="output folder of a training, or of a grid")
    parser.add_argument("name", help="folder of the recipe below train/")
    parser.add_argument("--grid", action="store_true", help="a grid's table and plot")
    options = parser.parse_args()
    target = TRAIN / options.name
    if options.grid:
        for kind in ("json", "md", "png"):
            shutil.copyfile(options.run / f"grid.{kind}", target / f"{options.run.name}.{kind}")
        return
    results = read_results(options.run / "results.json")
    shutil.copyfile(options.run / "results.json", target / "results.json")
    shutil.copyfile(options.run / "curves.png", target / "curves.png")
    sheet = options.run / "sheets" / f"epoch-{results['best_epoch']:03d}.png"
    shutil.copyfile(sheet, target / "sheet.png")
    summary = summary_markdown(results, ["curves.png", "sheet.png"])
    (target / "summary.md").write_text(summary, encoding="utf-8")
    print(target / "summary.md")


if __name__ == "__main__":
    main()
