"""`best`: the ImageNet trunk loads as its layout is written down, and the decoder around it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcolor.models import create_model
from vidcolor.models.best import Best
from vidcolor.models.resnet import ResNetEncoder

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
Norm = tuple[Tensor, Tensor, Tensor, Tensor]


def norm_tensors(name: str, channels: int) -> dict[str, Tensor]:
    """A batch norm's four tensors, far from neutral."""
    return {
        f"{name}_gamma": 0.5 + torch.rand(channels),
        f"{name}_beta": 0.3 * torch.randn(channels),
        f"{name}_running_mean": 0.3 * torch.randn(channels),
        f"{name}_running_var": 0.5 + torch.rand(channels),
    }


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    """Random tensors under the names and shapes of the ImageNet trunk's file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = norm_tensors("batchnorm0", 3) | norm_tensors("batchnorm1", 64)
        tensors["conv0_weight"] = 0.1 * torch.randn(64, 3, 7, 7)
        inputs = 64
        for stage, (hidden, count) in enumerate([(64, 3), (128, 4), (256, 6)], start=1):
            conv = norm = 0
            for unit in range(count):
                shapes = [(hidden, inputs, 1), (hidden, hidden, 3), (4 * hidden, hidden, 1)]
                if unit == 0:
                    shapes.append((4 * hidden, inputs, 1))
                for outputs, channels, kernel in shapes:
                    scale = (1 / (channels * kernel**2)) ** 0.5
                    weight = scale * torch.randn(outputs, channels, kernel, kernel)
                    tensors[f"stage{stage}_conv{conv}_weight"] = weight
                    conv += 1
                for channels in (inputs, hidden, hidden):
                    tensors |= norm_tensors(f"stage{stage}_batchnorm{norm}", channels)
                    norm += 1
                inputs = 4 * hidden
        return tensors


def reference(t: dict[str, Tensor], rgb: Tensor) -> list[Tensor]:
    """The trunk as its layout says: the outputs of the stem and of the three stages."""

    def norm(x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, var = (
            t[f"{name}_{key}"] for key in ("gamma", "beta", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, var, gamma, beta, eps=1e-5)

    x = norm((rgb - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1), "batchnorm0")
    x = F.relu(norm(F.conv2d(x, t["conv0_weight"], stride=2, padding=3), "batchnorm1"))
    outputs = [x]
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in ((1, 3), (2, 4), (3, 6)):
        for unit in range(count):
            first = 0 if unit == 0 else 3 * unit + 1
            convs = [t[f"stage{stage}_conv{first + k}_weight"] for k in range(3)]
            names = [f"stage{stage}_batchnorm{3 * unit + k}" for k in range(3)]
            stride = 2 if unit == 0 and stage > 1 else 1
            y = F.relu(norm(x, names[0]))
            if unit == 0:
                x = F.conv2d(y, t[f"stage{stage}_conv3_weight"], stride=stride)
            y = F.relu(norm(F.conv2d(y, convs[0]), names[1]))
            y = F.relu(norm(F.conv2d(y, convs[1], stride=stride, padding=1), names[2]))
            x = x + F.conv2d(y, convs[2])
        outputs.append(x)
    return outputs


@torch.no_grad()
def test_the_trunk_computes_what_its_layout_says(trunk: dict[str, Tensor]) -> None:
    # with this input norm black is 0 before the first convolution, so that the zero padding agrees
    tensors = trunk | {
        "batchnorm0_running_mean": -MEAN / STD,
        "batchnorm0_beta": torch.zeros(3),
    }
    encoder = ResNetEncoder().eval()
    encoder.load_imagenet(tensors)
    gray = torch.rand(2, 1, 64, 48)
    found = encoder(gray)
    assert list(found) == [2, 4, 8, 16]
    expected = reference(tensors, gray.expand(-1, 3, -1, -1))
    for ours, theirs in zip(found.values(), expected, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_mean_deviation_and_input_norm_are_folded(trunk: dict[str, Tensor]) -> None:
    encoder = ResNetEncoder().eval()
    encoder.load_imagenet(trunk)
    gray = torch.rand(1, 1, 32, 32)
    theirs = reference(trunk, gray.expand(-1, 3, -1, -1))[0]
    # but for the padding: the kernel reaches three pixels beyond the border
    torch.testing.assert_close(
        encoder(gray)[2][..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], rtol=1e-3, atol=1e-4
    )


def test_a_file_that_does_not_fit_is_refused(trunk: dict[str, Tensor]) -> None:
    less = {k: v for k, v in trunk.items() if k != "stage2_conv5_weight"}
    with pytest.raises(KeyError, match="stage2_conv5_weight"):
        ResNetEncoder().load_imagenet(less)
    with pytest.raises(ValueError, match="1 tensors too many, such as fc_weight"):
        ResNetEncoder().load_imagenet(trunk | {"fc_weight": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="must match the size"):
        ResNetEncoder().load_imagenet(trunk | {"stage1_conv0_weight": torch.zeros(2, 2, 1, 1)})


def test_training_leaves_the_resnets_statistics_and_moves_the_decoders() -> None:
    torch.manual_seed(0)
    model = Best(width=64, blocks=1).train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    model(100 * torch.rand(2, 1, 64, 64)).square().mean().backward()
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value) == key.startswith("encoder."), key
    norm = model.encoder.resnet.get_submodule("stages.0.0.norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.weight.requires_grad  # trained through, but for the statistics


@torch.no_grad()
def test_attention_reaches_across_the_picture() -> None:
    torch.manual_seed(0)
    model = Best(width=64, blocks=1).eval()
    nn.init.normal_(model.head.weight)
    with_dark, without = torch.full((2, 1, 64, 256), 60.0).unbind(0)
    with_dark = with_dark.clone()
    with_dark[:, :, :32] = 5
    far = model(torch.stack([with_dark, without]))[..., -8:]
    assert float((far[0] - far[1]).abs().max()) > 1e-4


def test_it_begins_as_the_smaller_model_and_trains_both_halves() -> None:
    torch.manual_seed(0)
    small = create_model("fast").eval()
    nn.init.normal_(small.get_parameter("head.weight"))
    model = Best(width=64, blocks=1).eval()
    model.load_base(small.state_dict())
    light = 100 * torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(light), small(light))
    nn.init.normal_(model.head.weight)
    model(light).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without
    assert all(
        name.startswith(("encoder.", *model.head_prefixes)) for name, _ in model.named_parameters()
    )


def test_a_base_that_does_not_fit_is_refused() -> None:
    state = create_model("fast").state_dict()
    state.pop("neck.0.weight")
    with pytest.raises(RuntimeError, match=r"neck\.0\.weight"):
        Best(width=64).load_base(state)


def test_features_of_both_encoders_come_apart_again() -> None:
    model = Best(width=64).eval()
    light = 100 * torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        large, small = model.encoder.split(model.features(light))
        resnet, mobilenet = model.encoder.resnet(light / 100), model.encoder.mobilenet(light / 100)
    for stride, wanted in resnet.items():
        assert torch.equal(large[stride], wanted)
    for stride, wanted in mobilenet.items():
        assert torch.equal(small[stride], wanted)


def test_costs_and_bad_options() -> None:
    assert sum(p.numel() for p in create_model("best").parameters()) < 30_000_000
    with pytest.raises(ValueError, match="width must be a multiple of 64"):
        Best(width=100)
