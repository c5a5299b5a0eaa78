"""Reset the blocks of `fast` at stride 32 to ImageNet's values.

    python train/scripts/revive.py old.safetensors mobilenetv2_folded.safetensors photos.zip \\
        new.safetensors

The deepest features of the first weights had become constants (train/LOG.md). This resets
everything from the first block at stride 32 on, and the layers that read it. The layers before
differ from ImageNet's, so the linear map from their features to ImageNet's, by ridge regression on
some pictures, is folded into the first new convolution. The decoder's weights for the new features
are 0, so the colors are those of the old weights until the model is trained.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidcolor.color.convert import rgb_to_lab
from vidcolor.evaluation.picture_sets import square, stream_pictures
from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.state_dicts import read_tensors
from vidcolor.models.weights import load_model, save_weights

FIRST = 13  # of the blocks at stride 32
PICTURES, RIDGE = 96, 1e-3


@torch.inference_mode()
def outputs(module: nn.Module, model: nn.Module, lightness: Tensor) -> Tensor:
    """The outputs of `module` for all pictures."""
    kept: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, given, made: kept.append(made))
    for part in torch.split(lightness, 16):
        model(part)
    hook.remove()
    return torch.cat(kept)


def linear_map(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """`(matrix, offset)` that bring `given @ matrix + offset` nearest to `wanted`, `(N, C)`."""
    mean, target = given.mean(0), wanted.mean(0)
    x, y = given - mean, wanted - target
    weight = RIDGE * len(x) * x.square().mean()
    matrix = torch.linalg.solve(x.T @ x + weight * torch.eye(x.shape[1]), x.T @ y)
    explained = 1 - (y - x @ matrix).square().mean() / y.square().mean()
    print(f"the old features explain {float(explained):.3f} of ImageNet's variance")
    return matrix, target - mean @ matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("old", "imagenet", "pictures", "new"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    old: Any = load_model(file=options.old)[0]
    new: Any = create_model("fast")
    new.load_pretrained(read_tensors(options.imagenet))
    new.eval()
    pictures = islice(stream_pictures([options.pictures], []), 0, 10 * PICTURES, 10)
    squares = torch.stack([square(picture, 256) for _, picture in pictures])
    lightness = rgb_to_lab(squares.float() / 255)[:, :1]

    rows = [
        outputs(model.encoder.blocks[FIRST - 1], model, lightness).permute(0, 2, 3, 1).flatten(0, 2)
        for model in (old, new)
    ]
    matrix, offset = linear_map(*rows)
    ours, theirs = new.state_dict(), old.state_dict()
    for name in ours:
        block = int(name.split(".")[2]) if name.startswith("encoder.blocks.") else 0
        if block < FIRST and not name.startswith(("encoder.top.", "neck.", "context.")):
            ours[name] = theirs[name].clone()
    expand = f"encoder.blocks.{FIRST}.expand."
    weight = ours[expand + "weight"][..., 0, 0].clone()
    ours[expand + "bias"] = ours[expand + "bias"] + weight @ offset
    ours[expand + "weight"] = (weight @ matrix.T)[..., None, None]
    ours["up16.0.0.weight"][:, : new.neck[0].out_channels] = 0
    new.load_state_dict(ours)
    # the old path was a constant, which is in the next norm's mean
    means = [outputs(m.up16[0][0], m, lightness).mean((0, 2, 3)) for m in (new, old)]
    new.up16[0][1].running_mean += means[0] - means[1]
    save_weights(options.new, new.state_dict(), Entry("fast"), torch.float32)


if __name__ == "__main__":
    main()
