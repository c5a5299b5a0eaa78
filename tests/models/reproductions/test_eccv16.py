"""eccv16 against the published layer table, and the colors of its classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import WeightsError
from vidcolor.models import create_model
from vidcolor.models.reproductions.eccv16 import ECCV16, conv_block
from vidcolor.models.reproductions.gamut import ab_bins, hull_distance, soft_encode

# The released state dict, by hand: convolutions (the first number of a weight's shape is also its
# bias's), then batch norms with their channels.
CONVOLUTIONS = {
    "model1.0": (64, 1, 3, 3),
    "model1.2": (64, 64, 3, 3),
    "model2.0": (128, 64, 3, 3),
    "model2.2": (128, 128, 3, 3),
    "model3.0": (256, 128, 3, 3),
    "model3.2": (256, 256, 3, 3),
    "model3.4": (256, 256, 3, 3),
    "model4.0": (512, 256, 3, 3),
    "model4.2": (512, 512, 3, 3),
    "model4.4": (512, 512, 3, 3),
    "model5.0": (512, 512, 3, 3),
    "model5.2": (512, 512, 3, 3),
    "model5.4": (512, 512, 3, 3),
    "model6.0": (512, 512, 3, 3),
    "model6.2": (512, 512, 3, 3),
    "model6.4": (512, 512, 3, 3),
    "model7.0": (512, 512, 3, 3),
    "model7.2": (512, 512, 3, 3),
    "model7.4": (512, 512, 3, 3),
    "model8.2": (256, 256, 3, 3),
    "model8.4": (256, 256, 3, 3),
    "model8.6": (313, 256, 1, 1),
}
NORMS = {
    "model1.4": 64,
    "model2.4": 128,
    "model3.6": 256,
    "model4.6": 512,
    "model5.6": 512,
    "model6.6": 512,
    "model7.6": 512,
}
OTHERS = {
    "model8.0.weight": (512, 256, 4, 4),  # transposed: inputs come first
    "model8.0.bias": (256,),
    "model_out.weight": (2, 313, 1, 1),
}


@pytest.fixture(scope="module")
def model() -> ECCV16:
    torch.manual_seed(0)
    return ECCV16().eval()


def test_the_state_dict_is_the_published_one(model: ECCV16) -> None:
    expected: dict[str, tuple[int, ...]] = dict(OTHERS)
    for name, shape in CONVOLUTIONS.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, channels in NORMS.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{part}"] = (channels,)
        expected[f"{name}.num_batches_tracked"] = ()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == 32_236_011
    assert all(any(key.startswith(head) for key in expected) for head in model.head_prefixes)


def test_strides_and_dilation(model: ECCV16) -> None:
    for last, stride in (("1.2", 2), ("2.2", 2), ("3.4", 2), ("4.4", 1), ("3.2", 1), ("1.0", 1)):
        assert model.get_submodule(f"model{last}").stride == (stride, stride)
    for number, dilation in ((4, 1), (5, 2), (6, 2), (7, 1)):
        for layer in (0, 2, 4):
            conv = model.get_submodule(f"model{number}.{layer}")
            assert conv.dilation == conv.padding == (dilation, dilation)


def test_the_batch_norm_comes_after_the_relu() -> None:
    kinds = [type(layer).__name__ for layer in conv_block(1, 4, 2, stride=2)]
    assert kinds == ["Conv2d", "ReLU", "Conv2d", "ReLU", "BatchNorm2d"]


def test_the_prediction_is_the_annealed_mean_of_the_bins(model: ECCV16) -> None:
    lightness = 100 * torch.rand(2, 1, 24, 16)
    with torch.inference_mode():
        logits = model.logits(lightness)
        assert logits.shape == (2, 313, 6, 4)
        for temperature in (1.0, 0.38):
            probabilities = (logits.double() / temperature).softmax(dim=1)
            mean = torch.einsum("bkhw,kc->bchw", probabilities, ab_bins().double())
            model.temperature = temperature
            found, decoded = model(lightness), model.decode(logits)
            model.temperature = 1.0
            torch.testing.assert_close(found.double(), mean, atol=1e-3, rtol=1e-4)
            assert torch.equal(decoded, found)  # what training validates is what forward gives
        by_hand = (lightness - 50) / 100
        for number in range(1, 9):
            by_hand = model.get_submodule(f"model{number}")(by_hand)
        torch.testing.assert_close(logits, by_hand, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.bins, ab_bins())


def test_a_bad_temperature_is_refused() -> None:
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(WeightsError, match="'eccv16': temperature must be "):
            create_model("eccv16", temperature=value)


# ---------------------------------------------------------------- bins


def test_there_are_313_bins_on_the_grid_of_ten() -> None:
    bins = ab_bins()
    assert bins.shape == (313, 2) and bins.dtype == torch.float32
    assert len(bins.unique(dim=0)) == 313
    assert bool((bins % 10 == 0).all())
    assert bins.amin(dim=0).tolist() == [-90, -110]
    assert bins.amax(dim=0).tolist() == [100, 100]
    assert bins.tolist() == sorted(bins.tolist())


def test_the_bins_are_the_published_ones() -> None:
    # how many there are at each a*, and the ends of some rows, as in the released table
    rows = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]
    bins = ab_bins()
    assert [int((bins[:, 0] == a).sum()) for a in range(-90, 101, 10)] == rows
    for a, low, high in (
        (-90, 50, 90),
        (-60, -20, 90),
        (0, -70, 100),
        (40, -100, 90),
        (100, -90, 0),
    ):
        row = bins[bins[:, 0] == a, 1]
        assert (float(row.min()), float(row.max())) == (low, high)


def test_hull_distance_against_known_colors() -> None:
    primaries = torch.tensor(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
    )
    ab = rgb_to_lab(primaries.double().T[:, :, None])[1:, :, 0].T
    distance = hull_distance(ab)
    # the corners of the cube lie on the rim, but for white in the middle
    torch.testing.assert_close(distance[:6], torch.zeros(6).double(), atol=0.1, rtol=0)
    assert float(distance[6]) < -30
    assert float(hull_distance(ab[5:6] + torch.tensor([7.0, 0.0]))) == pytest.approx(7, abs=0.2)
    inside = rgb_to_lab(torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0)).double())
    assert float(hull_distance(inside[1:].flatten(1).T).max()) < 0


def test_soft_encoding_by_hand() -> None:
    ab = torch.tensor([[12.0, 3.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 2)
    encoded = soft_encode(ab)
    assert encoded.shape == (1, 313, 1, 2)
    torch.testing.assert_close(encoded.sum(dim=1), torch.ones(1, 1, 2))
    # (12, 3): squared distances to its five nearest bins; the sixth is (10, -10) with 173
    corners = {(10, 0): 13, (10, 10): 53, (20, 0): 73, (20, 10): 113, (0, 0): 153}
    total = sum(torch.tensor(-d / 50).exp() for d in corners.values())
    for (a, b), squared in corners.items():
        index = int(((ab_bins() == torch.tensor([a, b])).all(dim=1)).nonzero())
        expected = float(torch.tensor(-squared / 50).exp() / total)
        assert float(encoded[0, index, 0, 0]) == pytest.approx(expected, rel=1e-4)
    assert int((encoded[0, :, 0, 0] > 0).sum()) == 5


def test_soft_encoding_far_away_and_of_one_neighbor() -> None:
    ab = torch.tensor([3000.0, 0.0]).reshape(1, 2, 1, 1)  # the Gaussian itself is 0 here
    assert float(soft_encode(ab).sum()) == pytest.approx(1)
    bins = ab_bins().T.reshape(1, 2, 1, 313)
    assert torch.equal(soft_encode(bins, neighbors=1)[0, :, 0], torch.eye(313))
    own = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    assert soft_encode(ab, neighbors=1, bins=own).flatten().tolist() == [0, 1]
    for wrong in ({"neighbors": 0}, {"neighbors": 314}, {"sigma": 0.0}):
        with pytest.raises(ValueError, match="must"):
            soft_encode(ab, **wrong)


def test_soft_encoding_teaches_the_colors(model: ECCV16) -> None:
    """The mean of a color's own encoding is near that color: what the logits learn decodes."""
    ab = 30 * torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        decoded = 110 * model.model_out(soft_encode(ab, sigma=5))
    assert float((decoded - ab).abs().mean()) < 2
    assert F.mse_loss(decoded, ab) < 0.02 * F.mse_loss(torch.zeros_like(ab), ab)


def test_a_batch_norm_after_each_convolution_is_an_option() -> None:
    """Document 001: every convolution on the way down to 32x32x512 has its batch norm."""
    deep = ECCV16(norm_each=True)
    for number in range(1, 8):
        kinds = [type(layer).__name__ for layer in deep.get_submodule(f"model{number}").children()]
        assert kinds == ["Conv2d", "ReLU", "BatchNorm2d"] * (len(kinds) // 3)
    trained = {k: v.shape for k, v in deep.named_parameters() if not k.startswith("model_out")}
    norms = sum(len(shape) == 1 for shape in trained.values())
    assert norms == 2 * 19 + 19 + 4  # norms of 19 convolutions, and all biases
    assert deep.eval()(torch.full((1, 1, 64, 64), 50.0)).shape == (1, 2, 16, 16)
