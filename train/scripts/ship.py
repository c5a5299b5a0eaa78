"""Ship trained weights: cast to fp16, measure, and write weights/NAME.safetensors and the manifest.

    python train/scripts/ship.py NAME runs/x/weights.safetensors --chroma-gain 1.3 --data "..." \\
        --license "..." --recipe train/fast/recipe.toml --eval photos-val-00.zip \\
        --eval-name "photos-val (509 photographs, 256x256)" --lpips-weights alexnet.safetensors
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vidcolor.evaluation import evaluate_folders
from vidcolor.models.weights import load_model, save_weights, sha256_of
from vidcolor.run.colorizer import Colorizer

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


MOST_BYTES = 16 * 2**20  # of one file


def parts(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in their order, in pieces that are small enough as fp16."""
    piece: dict[str, Tensor] = {}
    taken = 0
    for name, tensor in tensors.items():
        if taken + 2 * tensor.numel() > MOST_BYTES:
            yield piece
            piece, taken = {}, 0
        piece[name] = tensor
        taken += 2 * tensor.numel()
    yield piece


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("weights", type=Path)
    for option in ("--data", "--license", "--recipe", "--eval-name"):
        parser.add_argument(option, required=True)
    parser.add_argument("--eval", type=Path, nargs="+", required=True)
    parser.add_argument("--lpips-weights", type=Path)
    parser.add_argument("--chroma-gain", type=float, default=1.0)
    parser.add_argument("--input-size", type=int, help="default: the recipe's")
    options = parser.parse_args()

    model, entry = load_model(file=options.weights)
    size = options.input_size or entry.input_size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.full((1, 1, size, size), 50.0))
    entry = dataclasses.replace(
        entry,
        input_size=size,
        chroma_gain=options.chroma_gain,
        recipe=options.recipe,
        data=options.data,
        license=options.license,
        parameters=sum(p.numel() for p in model.parameters()),
        gmacs=round(counter.get_total_flops() / 2e9, 3),
    )
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.safetensors"  # what is measured is what is shipped: fp16
        save_weights(trial, model.state_dict(), entry, torch.float16)
        table = evaluate_folders(
            Colorizer(weights=trial, device="cpu"),
            options.eval,
            size=256,
            lpips_weights=options.lpips_weights,
            name=options.name,
        )
    for row in table.rows:
        print(row)
    values = dataclasses.asdict(table.rows[-1])
    values.pop("name")
    metrics = {k: v if v is None else round(v, 4) for k, v in values.items()}
    metrics["evaluated_on"] = options.eval_name
    entry = dataclasses.replace(entry, file=f"{options.name}.safetensors", metrics=metrics)
    shards = {}
    for number, tensors in enumerate(parts(model.state_dict()), start=1):
        path = WEIGHTS / (f"{options.name}-{number}.safetensors" if number > 1 else entry.file)
        save_weights(path, tensors, entry, torch.float16)
        path.chmod(0o644)
        print(f"{path.name}: {path.stat().st_size} bytes, {entry.gmacs} GMACs in all")
        if number > 1:
            shards[path.name] = sha256_of(path)
    entry = dataclasses.replace(entry, shards=shards, sha256=sha256_of(WEIGHTS / entry.file))
    manifest = WEIGHTS / "manifest.json"
    entries = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    before = entries.get(options.name, {})
    for stale in {before.get("file", ""), *before.get("shards", {})} - {"", entry.file, *shards}:
        (WEIGHTS / stale).unlink(missing_ok=True)
    entries[options.name] = dataclasses.asdict(entry)
    manifest.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
