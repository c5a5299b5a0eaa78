"""Counts of layers, parameters, connections and memory, against numbers counted by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.command_line import Vidcolor
from vidcolor.models import ColorModel, create_model
from vidcolor.models.describe import describe
from vidcolor.models.entry import Entry
from vidcolor.models.fast import Fast
from vidcolor.models.reproductions.plain_cnn import PlainCNN
from vidcolor.models.reproductions.pool_cnn import PoolCNN, PoolUNet
from vidcolor.models.weights import save_weights

SIZES = pytest.mark.parametrize("size", [32, 64])
NETS = pytest.mark.parametrize(("nf", "nc"), [(1, 2), (8, 5), (32, 24)])


@SIZES
@NETS
def test_pool_cnn_by_the_closed_form(nf: int, nc: int, size: int) -> None:
    found = describe(PoolCNN(nf, nc), size)
    pixels = size * size
    assert found.parameters == 72 * nf**2 + 27 * nf + 9 * nf * nc + 9 * nc**2 + 4 * nc
    assert found.outputs == pixels * nc
    at_32 = 9216 * nf + 8064 * nf**2 + 2304 * nf * nc + 9216 * nc**2
    assert found.connections == found.macs == at_32 * pixels // 1024
    # batch norm's running means and variances with their counters, and the palette
    assert found.buffers == 12 * nf + 2 * nc + 5 + 3 * nc


@SIZES
@NETS
def test_pool_unet_by_the_closed_form(nf: int, nc: int, size: int) -> None:
    found = describe(PoolUNet(nf, nc), size)
    assert found.parameters == 90 * nf**2 + 27 * nf + 18 * nf * nc + 9 * nc**2 + 13 * nc
    assert found.outputs == size * size * nc
    at_32 = 9216 * (nf + nf**2 + nc**2 + nc) + 4608 * nf * nc
    assert found.connections == at_32 * size * size // 1024


@pytest.mark.parametrize("name", ["fast", "eccv16", "siggraph17", "cunet", "autoencoder"])
def test_multiply_adds_are_half_of_torchs_count(name: str) -> None:
    """For networks without attention and with one prediction, which torch counts too."""
    with torch.device("meta"):
        model = create_model(name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 1, 64, 64))
    assert describe(model, 64).macs == counter.get_total_flops() // 2


def test_the_documents_form_is_not_the_truth() -> None:
    nf, nc = 32, 24
    document = 3086 * nf + 72 * nf**2 + 9 * nf * nc + 9 * nc**2 + 4098 * nc
    assert (document, describe(PoolCNN(nf, nc), 32).parameters) == (282_928, 86_784)


def test_layers_in_order_of_execution() -> None:
    found = describe(PlainCNN(layers=2, kernels=16), 8)
    rows = [(row.name, row.kind, row.output, row.parameters) for row in found.layers]
    assert rows == [
        ("stack.0", "Conv2d", (1, 16, 8, 8), 160),
        ("stack.1", "ReLU", (1, 16, 8, 8), 0),
        ("stack.2", "Conv2d", (1, 3, 8, 8), 435),
    ]
    assert [row.connections for row in found.layers] == [9 * 16 * 64, 0, 9 * 16 * 3 * 64]
    assert [row.activation_bytes for row in found.layers] == [4096, 4096, 768]
    assert (found.native, found.output, found.parameters) == ("rgb", (1, 3, 8, 8), 595)
    assert found.input == (1, 1, 8, 8) and found.model_bytes == 4 * 595


class Chain(ColorModel):
    """Three layers whose memory is counted by hand."""

    stride = 2

    def __init__(self) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(1, 4, 2, stride=2, bias=False)
        self.grow = nn.ConvTranspose2d(4, 2, 2, stride=2, groups=2)
        self.mix = nn.Linear(8, 8)

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mix(self.grow(self.shrink(lightness)))
        return mixed


def test_transposed_grouped_and_linear_layers() -> None:
    found = describe(Chain(), 8)
    assert [row.parameters for row in found.layers] == [16, 4 * 1 * 4 + 2, 8 * 8 + 8]
    # 2x2 from 1 to 4 on 4x4; 2x2 from each of 4 to 1 on 4x4; 8 to 8 for each of 2 x 8 rows
    assert [row.connections for row in found.layers] == [16 * 16, 16 * 16, 64 * 16]
    assert (found.native, found.output, found.outputs) == ("ab", (1, 2, 8, 8), 128)


def test_memory_by_hand() -> None:
    found = describe(Chain(), 8)
    weights, picture = 4 * (16 + 18 + 72), 4 * 64
    shrunk, grown, mixed = 4 * 4 * 16, 4 * 2 * 64, 4 * 2 * 64
    assert found.model_bytes == weights
    # each layer's input is let go when the next but one begins
    assert found.inference_bytes == weights + picture + max(shrunk + grown, grown + mixed)
    # each layer keeps its input
    assert found.kept_bytes == picture + shrunk + grown
    assert found.training_bytes == 4 * weights + found.kept_bytes


def test_frozen_parameters_need_no_optimizer_memory() -> None:
    model = Chain()
    free = describe(model, 8)
    model.mix.requires_grad_(False)
    frozen = describe(model, 8)
    assert frozen.parameters == free.parameters
    assert free.training_bytes - frozen.training_bytes == 3 * 4 * 72 + 4 * 2 * 64


def test_model_is_left_as_it_was() -> None:
    model = PoolCNN(2, 3).train()
    model.down1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, 8)
    assert model.training and not model.down1.training and model.down2.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert "logits" not in vars(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_large_networks_cost_nothing_to_describe() -> None:
    with torch.device("meta"):
        full, deep = create_model("mean_chroma_fc"), create_model("deeplabv3")
    found = describe(full, 64)
    sizes = (16384, 8192, 4096, 1024, 256, 2)
    pairs = list(pairwise(sizes))
    assert found.connections == sum(a * b for a, b in pairs)
    assert found.parameters == sum(a * b + b for a, b in pairs) == 172_242_690
    assert (found.native, found.outputs) == ("mean_ab", 2)
    found = describe(deep, 64)
    assert found.parameters == 39_639_640
    assert found.native == "logits" and found.outputs == 24 * 64 * 64


def test_size_must_suit_the_model() -> None:
    for size in (0, 33):
        with pytest.raises(ValueError, match=f"multiple of 32 pixels, not {size}"):
            describe(Fast(), size)


def test_command(command: Vidcolor) -> None:
    answer = command("models", "describe", "pool_cnn", "--input", "32")
    assert (answer.code, answer.err) == (0, "")
    for word in ("down1.2", "BatchNorm2d", "86,784", "24,576", "15,630,336", "MiB"):
        assert word in answer.out, word


def test_command_json_and_options(command: Vidcolor) -> None:
    options = ("--option", "filters=8", "--option", "colors=5", "--option", "decode=mean")
    answer = command("models", "describe", "pool_cnn", *options, "--json")
    report = json.loads(answer.out)
    assert report["architecture"] == "pool_cnn" and report["input"] == [1, 1, 64, 64]
    assert report["options"] == {"filters": 8, "colors": 5, "decode": "mean"}
    assert report["parameters"] == describe(PoolCNN(8, 5), 64).parameters
    assert len(report["layers"]) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "no model architecture is called 'nothing'"),
        (("plain_cnn", "--option", "depth=3"), "has no option 'depth'; it has: layers"),
        (("plain_cnn", "--option", "layers=two"), "layers must be a whole number"),
        (("plain_cnn", "--option", "layers"), "'layers' is not of the form key=value"),
        (("pool_cnn", "--input", "33"), "multiple of 4 pixels, not 33"),
    ],
)
def test_command_says_what_is_wrong(
    command: Vidcolor, arguments: tuple[str, ...], message: str
) -> None:
    answer = command("models", "describe", *arguments)
    assert answer.code == 2 and message in answer.err
    assert "--json belongs after" in command("models", "--json", "describe", "fast").err


def test_list_is_still_there(command: Vidcolor) -> None:
    assert "fast" in command("models").out
    assert "fast" in json.loads(command("models", "--json").out)


def test_doubling_the_input_is_shown(command: Vidcolor) -> None:
    """Document 003, 3(e): the parameters stay, and what depends on the pixels is four times."""
    report = json.loads(command("models", "describe", "pool_cnn", "--input", "32", "--json").out)
    doubled = report["doubled"]
    assert doubled["input"] == [1, 1, 64, 64]
    assert doubled["parameters"] == report["parameters"]
    assert doubled["outputs"] == 4 * report["outputs"]
    assert doubled["connections"] == 4 * report["connections"]
    # the statistics of batch norm stay
    assert doubled["kept_bytes"] == pytest.approx(4 * report["kept_bytes"], rel=2e-3)
    out = command("models", "describe", "pool_cnn", "--input", "32").out
    assert "with input 64x64: parameters x1.00, outputs x4.00, connections x4.00" in out


def test_the_mean_color_of_pictures_is_printed(command: Vidcolor, tmp_path: Path) -> None:
    weights = tmp_path / "mean.safetensors"
    model = create_model("mean_chroma_cnn", variant=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        # by the units of document 004 the last layer's biases are (a* + 128) / 255
        model.layers[-1].bias.copy_(torch.tensor([138.0, 108.0]) / 255)  # type: ignore[index, union-attr]
    entry = Entry("mean_chroma_cnn", input_size=128, options={"variant": 1})
    save_weights(weights, model.state_dict(), entry, torch.float32)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (60, 40), (200, 40, 30)).save(folder / "red.png")
    Image.new("L", (40, 60), 99).save(folder / "gray.png")
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:30])
    arguments = ("models", "mean-color", folder, "--weights", weights, "--device", "cpu")
    rows = [json.loads(x) for x in command(*arguments, "--json").out.splitlines()]
    assert [Path(row["picture"]).name for row in rows] == ["gray.png", "red.png"]
    for row in rows:
        assert row["predicted"] == pytest.approx([10.0, -20.0], abs=0.01)
    assert rows[0]["own"] == pytest.approx([0, 0], abs=0.01)
    assert rows[1]["own"][0] > 50 and rows[1]["own"][1] > 40
    answer = command(*arguments)
    assert "a* +10.00, b* -20.00 (its own +0.00, +0.00)  " in answer.out.replace("-0.00", "+0.00")
    assert "unreadable: " in answer.err and "cut.png" in answer.err
