"""Objectives: they learn, and their numbers are those of a hand and of torchmetrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidcolor.color.convert import lab_to_rgb
from vidcolor.errors import TrainingError
from vidcolor.evaluation.metrics import colorfulness
from vidcolor.models import ColorModel, create_model
from vidcolor.models.reproductions.classifier import BinClassifier
from vidcolor.models.reproductions.gamut import ab_bins
from vidcolor.models.weights import load_model, save_weights
from vidcolor.training.data.batch import Batch
from vidcolor.training.objectives import OBJECTIVES, create_objective
from vidcolor.training.objectives.ab_perceptual import AbPerceptual
from vidcolor.training.objectives.ab_regression import AbHuber, AbMse, Lab8Mse
from vidcolor.training.objectives.base import Objective, join_lab
from vidcolor.training.objectives.color_classes import ColorClasses, fit_palette
from vidcolor.training.objectives.gamut_bins import GamutBins, smoothed
from vidcolor.training.objectives.mean_chroma import MeanChroma
from vidcolor.training.objectives.rgb_mse import RgbMse


class Bins(BinClassifier):
    """The smallest network that scores the gamut's bins, at a quarter of the size."""

    stride = 4

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.conv = nn.Conv2d(1, len(self.bins), 4, stride=4)

    @property
    def bins(self) -> Tensor:
        return ab_bins()

    def logits(self, lightness: Tensor) -> Tensor:
        logits: Tensor = self.conv(lightness / 100)
        return logits

    def decode(self, logits: Tensor) -> Tensor:
        shares = (logits / self.temperature).softmax(dim=1)
        return torch.einsum("bnhw,nc->bchw", shares, self.bins)


class Bare(ColorModel):
    """Something with a parameter, for objectives that are called by hand."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, lightness: Tensor) -> Tensor:
        return self.weight * lightness.expand(-1, 2, -1, -1)


def pictures(side: int = 8, count: int = 2, seed: int = 0) -> Tensor:
    """Smooth warm pictures, R'G'B' `(count, 3, side, side)`."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 3, 3, generator=random) * 0.6 + torch.tensor(
        [0.35, 0.2, 0.05]
    ).view(1, 3, 1, 1)
    return nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def lab_batch(lightness: float, ab: Tensor) -> Batch:
    """A batch of one lightness and the given a*b* `(B, 2, H, W)`."""
    return Batch(torch.cat([torch.full_like(ab[:, :1], lightness), ab], dim=1), "lab")


def colors(*values: tuple[float, ...]) -> Tensor:
    """Planes of one row, `(1, C, 1, len(values))`."""
    return torch.tensor(values, dtype=torch.float32).T[None, :, None, :]


# --------------------------------------------------------------------------------------- overfit

pytestmark = pytest.mark.usefixtures("alexnet_cache")

CASES: list[tuple[str, dict[str, Any], str, dict[str, Any], int, float]] = [
    ("rgb_mse", {}, "plain_cnn", {"layers": 2, "kernels": 4}, 8, 1e-2),
    ("ab_mse", {}, "autoencoder", {}, 32, 1e-4),
    ("ab_huber", {}, "autoencoder", {}, 32, 1e-4),
    ("ab_perceptual", {}, "autoencoder", {}, 64, 1e-5),
    ("lab8_mse", {}, "autoencoder", {"activation": "sigmoid"}, 32, 1e-4),
    ("mean_chroma", {}, "mean_chroma_cnn", {"variant": 1}, 32, 1e-3),
    ("color_classes", {}, "pool_cnn", {"filters": 4, "colors": 4}, 8, 1e-2),
    ("gamut_bins", {}, "", {}, 16, 1e-2),
]


def test_every_objective_is_overfitted_below() -> None:
    assert {case[0] for case in CASES} == set(OBJECTIVES)


@pytest.mark.parametrize(("name", "options", "model_name", "model_options", "side", "lr"), CASES)
def test_two_steps_lower_the_loss(
    name: str,
    options: dict[str, Any],
    model_name: str,
    model_options: dict[str, Any],
    side: int,
    lr: float,
) -> None:
    torch.manual_seed(0)
    model = create_model(model_name, **model_options) if model_name else Bins()
    objective = create_objective(name, model, options)
    batch = Batch(pictures(side), "rgb")
    with torch.no_grad():
        objective.prepare(model, batch, initialized=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(3):
        loss = objective.loss(objective.predict(model.train(), batch), batch)
        assert loss.shape == ()
        losses.append(loss.item())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert losses[0] > losses[1] > losses[2], losses


@pytest.mark.parametrize(("name", "options", "model_name", "model_options", "side", "lr"), CASES)
def test_pictures_and_measures_have_one_value_for_each_picture(
    name: str,
    options: dict[str, Any],
    model_name: str,
    model_options: dict[str, Any],
    side: int,
    lr: float,
) -> None:
    torch.manual_seed(1)
    model = (create_model(model_name, **model_options) if model_name else Bins()).eval()
    objective = create_objective(name, model, options)
    space = OBJECTIVES[name].space
    whole = pictures(side, count=3)
    batch = Batch(whole if space == "rgb" else Batch(whole, "rgb").lab, space)
    with torch.no_grad():
        raw = objective.predict(model, batch)
        made = objective.picture(model, raw, batch)
        found = objective.measures(made, raw, batch)
    assert made.shape == (3, 3, side, side) and made.min() >= 0 and made.max() <= 1
    assert set(objective.measure_names) <= set(found)
    for key, values in found.items():
        assert values.shape == (3,) and values.isfinite().all(), key
    # a batch is measured as its pictures are
    single = Batch(batch.picture[1:2], space)
    alone = objective.measures(made[1:2], raw[1:2], single)
    for key, values in alone.items():
        torch.testing.assert_close(values, found[key][1:2], atol=1e-5, rtol=1e-5)


# ----------------------------------------------------------------------------------- regressions


def test_rgb_mse_by_hand() -> None:
    objective = RgbMse(Bare())
    batch = Batch(torch.full((2, 3, 2, 2), 0.5), "rgb")
    raw = torch.full((2, 3, 2, 2), 0.5)
    assert objective.loss(raw, batch) == 0
    raw[0, 0] = 0.8  # 4 of 24 values are 0.3 off
    assert objective.loss(raw, batch).item() == pytest.approx(0.09 * 4 / 24)
    raw[1] = 1.5
    assert objective.picture(Bare(), raw, batch)[1].eq(1).all()  # limited where it is shown alone
    assert objective.loss(raw, batch).item() == pytest.approx((0.09 * 4 + 1.0 * 12) / 24)


@pytest.mark.parametrize(
    ("objective", "difference", "expected"),
    [
        (AbMse(Bare()), 10.0, 1.0),
        (AbMse(Bare()), -30.0, 9.0),
        (AbHuber(Bare()), 4.0, 0.5 * 4**2 / 10),
        (AbHuber(Bare()), 10.0, 5.0),
        (AbHuber(Bare()), -30.0, 30 - 10 / 2),
        (AbHuber(Bare(), knee=2.0), 4.0, 4 - 2 / 2),
        (Lab8Mse(Bare()), 255.0, 1.0),
        (Lab8Mse(Bare()), 25.5, 0.01),
    ],
)
def test_ab_regressions_by_hand(objective: Objective, difference: float, expected: float) -> None:
    batch = lab_batch(50, torch.full((2, 2, 4, 4), 12.0))
    raw = batch.ab + difference
    assert objective.loss(raw, batch).item() == pytest.approx(expected, rel=1e-5)


def test_by_its_logarithm_a_picture_counts_by_the_share_that_is_left() -> None:
    batch = lab_batch(50, torch.zeros(2, 2, 4, 4))
    raw = batch.ab.clone()
    raw[0], raw[1] = 40.0, 6.0  # Huber losses over the knee: 35 and 1.8
    objective = AbHuber(Bare(), log=2.0)
    expected = math.log(35 + 0.2) + math.log(1.8 + 0.2)  # 2 times their mean
    assert objective.loss(raw, batch).item() == pytest.approx(expected, rel=1e-5)


def test_small_predictions_are_compared_with_the_mean_of_their_area() -> None:
    ab = torch.zeros(1, 2, 4, 4)
    ab[..., 0::2, 0::2] = 40.0  # one of each four: a mean of 10
    batch = lab_batch(50, ab)
    assert AbMse(Bare()).loss(torch.full((1, 2, 2, 2), 10.0), batch) == 0
    assert AbMse(Bare()).loss(torch.zeros(1, 2, 2, 2), batch).item() == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "unit"), [(AbMse, 100.0), (AbHuber, 20.0)])
def test_small_predictions_can_be_compared_at_the_pictures_size(
    kind: type[AbMse] | type[AbHuber], unit: float
) -> None:
    objective = kind(Bare(), at="picture")
    ab = torch.zeros(1, 2, 2, 4)
    ab[..., 1:] = torch.tensor([2.0, 6.0, 8.0])
    raw = torch.tensor([0.0, 8.0]).expand(1, 2, 1, 2)  # bilinear: 0, 2, 6, 8
    assert objective.loss(raw, lab_batch(50, ab)).item() == pytest.approx(0, abs=1e-9)
    ab[..., 0] = 4.0  # one of four is 4 off
    assert objective.loss(raw, lab_batch(50, ab)).item() == pytest.approx(4**2 / 4 / unit)
    # at the prediction's, detail inside of a sample costs nothing
    ab[..., :2], ab[..., 2:] = torch.tensor([-5.0, 5.0]), 8.0
    assert kind(Bare()).loss(raw, lab_batch(50, ab)) == 0
    assert objective.loss(raw, lab_batch(50, ab)) > 0


def test_mean_chroma_by_hand() -> None:
    ab = torch.zeros(2, 2, 2, 2)
    ab[0, 0] = torch.tensor([[40.0, 0.0], [0.0, 0.0]])  # mean a* 10
    batch = lab_batch(50, ab)
    objective = MeanChroma(Bare())
    assert objective.loss(torch.tensor([[10.0, 0.0], [0.0, 0.0]]), batch) == 0
    raw = torch.tensor([[35.5, 51.0], [0.0, 0.0]])  # 25.5 and 51 off: a tenth and a fifth of 255
    assert objective.loss(raw, batch).item() == pytest.approx((0.01 + 0.04) / 4)
    made = objective.picture(Bare(), raw, batch)
    measured = objective.measures(made, raw, batch)
    torch.testing.assert_close(measured["mse_a"], torch.tensor([0.01, 0.0]))
    torch.testing.assert_close(measured["mse_b"], torch.tensor([0.04, 0.0]))
    expected = lab_to_rgb(torch.tensor([50.0, 35.5, 51.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(made[:1], expected.expand(1, 3, 2, 2))


# -------------------------------------------------------------------------------------- measures


def test_margin_error_counts_differences_of_12_or_more() -> None:
    truth = torch.full((1, 3, 2, 2), 100.0)
    made = truth.clone()
    made[0, :, 0, 0] = torch.tensor([111.0, 112.0, 113.0])  # 11, exactly 12, and 13
    made[0, :, 0, 1] = torch.tensor([89.0, 88.0, 87.0])
    batch = Batch(truth / 255, "rgb")
    found = RgbMse(Bare()).measures(made / 255, made / 255, batch)
    assert found["margin_error"].item() == pytest.approx(4 / 12)
    # 11.6 of 255 levels rounds to 12, as a file would hold it
    rounded = RgbMse(Bare()).measures((truth + 11.6) / 255, truth, batch)
    assert rounded["margin_error"].item() == 1


def test_psnr_is_torchmetrics_of_8_bit_pictures() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    truth, made = pictures(16), pictures(16, seed=3)
    found = RgbMse(Bare()).measures(made, made, Batch(truth, "rgb"))["psnr"]
    for index in range(2):
        expected = peak_signal_noise_ratio(
            (made[index] * 255).round(), (truth[index] * 255).round(), data_range=255.0
        )
        torch.testing.assert_close(found[index], expected, atol=1e-3, rtol=0)
    same = RgbMse(Bare()).measures(truth, truth, Batch(truth, "rgb"))
    assert same["psnr"].tolist() == [100.0, 100.0] and same["margin_error"].tolist() == [0.0, 0.0]


def test_gain_is_over_leaving_the_picture_gray() -> None:
    batch = Batch(Batch(pictures(8), "rgb").lab, "lab")
    objective = AbMse(Bare())
    none = torch.zeros_like(batch.ab)
    gray = objective.measures(objective.picture(Bare(), none, batch), none, batch)
    assert gray["psnr_over_gray"].tolist() == [0.0, 0.0] and (gray["psnr"] < 30).all()
    made = objective.picture(Bare(), batch.ab, batch)
    right = objective.measures(made, batch.ab, batch)
    torch.testing.assert_close(right["psnr_over_gray"], right["psnr"] - gray["psnr"])
    assert (right["psnr_over_gray"] > 10).all()


def test_lab8_measures_are_torchmetrics_of_the_8_bit_planes() -> None:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    batch = Batch(Batch(pictures(24), "rgb").lab, "lab")
    noise = torch.randn(batch.ab.shape, generator=torch.Generator().manual_seed(2))
    raw = batch.ab + 5 * noise
    objective = Lab8Mse(Bare())
    found = objective.measures(objective.picture(Bare(), raw, batch), raw, batch)
    for plane, name in enumerate("ab"):
        for index in range(2):
            prediction = raw[index : index + 1, plane : plane + 1] + 128
            truth = batch.ab[index : index + 1, plane : plane + 1] + 128
            mse = ((prediction - truth) / 255).square().mean()
            torch.testing.assert_close(found[f"mse_{name}"][index], mse)
            psnr = peak_signal_noise_ratio(prediction, truth, data_range=255.0)
            torch.testing.assert_close(found[f"psnr_{name}"][index], psnr, atol=1e-3, rtol=0)
            ssim = structural_similarity_index_measure(prediction, truth, data_range=255.0)
            torch.testing.assert_close(found[f"ssim_{name}"][index], ssim, atol=1e-4, rtol=0)
    torch.testing.assert_close(found["psnr_ab"], (found["psnr_a"] + found["psnr_b"]) / 2)


def test_lab8_measures_of_the_document_agree_with_each_other() -> None:
    # seed 004, table IV: MSE 0.000222 of values divided by 255 stands beside a PSNR of 36.52 dB
    batch = lab_batch(50, torch.zeros(1, 2, 4, 4))
    raw = torch.full((1, 2, 4, 4), 255 * math.sqrt(0.000222))
    found = Lab8Mse(Bare()).measures(torch.zeros(1, 3, 4, 4), raw, batch)
    assert found["psnr_a"].item() == pytest.approx(36.5217, abs=0.02)
    assert "ssim_a" not in found  # too small for its window


# -------------------------------------------------------------------------------- color classes

FOUR = torch.tensor([[0.1, 0.1, 0.3], [0.8, 0.1, 0.1], [0.2, 0.8, 0.3], [0.9, 0.9, 0.7]])


def test_k_means_finds_separate_colors_and_is_deterministic() -> None:
    import cv2

    random = torch.Generator().manual_seed(4)
    index = torch.randint(0, 4, (2, 20, 20), generator=random)
    rgb = FOUR[index].permute(0, 3, 1, 2) + 0.02 * torch.randn(2, 3, 20, 20, generator=random)
    first = fit_palette(rgb, 4)
    torch.testing.assert_close(first, FOUR, atol=0.01, rtol=0)  # darkest first
    # noise has many equally good palettes: which is found depends on no one else's dice
    noise = torch.rand(2, 3, 20, 20, generator=random)
    palettes = []
    for state in (98, 99):
        cv2.setRNGSeed(state)
        torch.manual_seed(state)
        palettes.append(fit_palette(noise, 24))
    assert torch.equal(*palettes)
    # the centers are means, so they lie among the colors
    assert fit_palette(rgb, 2).sum(dim=1).diff().item() > 0


def four_colors() -> nn.Module:
    return create_model("pool_cnn", filters=2, colors=4)


def test_the_palette_is_the_models_and_trained_ones_keep_theirs() -> None:
    model = four_colors()
    objective = ColorClasses(model)
    sample = Batch(FOUR.T[None, :, :, None].repeat(1, 1, 1, 4), "rgb")
    before = model.palette.clone()  # type: ignore[operator]
    objective.prepare(model, sample, initialized=True)
    assert torch.equal(model.palette, before)  # type: ignore[arg-type]
    objective.prepare(model, sample, initialized=False)
    torch.testing.assert_close(model.palette, FOUR)
    assert objective.palette is model.palette
    assert objective.state_dict() == {}  # the model's buffer is in the checkpoint already


def test_color_classes_by_hand() -> None:
    model = four_colors()
    model.palette.copy_(FOUR)  # type: ignore[operator]
    objective = ColorClasses(model)
    near = (FOUR + 0.03).flip(0)
    batch = Batch(near.T[None, :, None, :], "rgb")
    assert objective.classes(batch.rgb).tolist() == [[[3, 2, 1, 0]]]
    assert objective.loss(torch.zeros(1, 4, 1, 4), batch).item() == pytest.approx(math.log(4))
    raw = torch.zeros(1, 4, 1, 4)
    raw[0, 3, 0, 0] = raw[0, 2, 0, 1] = raw[0, 0, 0, 2] = math.log(3)
    # two are right with a probability of 3/6, one is wrong with 1/6, one is even
    expected = (2 * math.log(2) + math.log(6) + math.log(4)) / 4
    assert objective.loss(raw, batch).item() == pytest.approx(expected)
    made = objective.picture(model, raw, batch)
    torch.testing.assert_close(made, FOUR[[3, 2, 0, 0]].T[None, :, None, :])
    # the last pixel is even: its first class, 0, is taken, which is right
    assert objective.measures(made, raw, batch)["accuracy"].item() == pytest.approx(3 / 4)


def test_classes_are_the_nearest_colors() -> None:
    torch.manual_seed(0)
    model = create_model("pool_cnn", filters=2, colors=24)
    model.palette.copy_(torch.rand(24, 3))  # type: ignore[operator]
    rgb = torch.rand(2, 3, 5, 7)
    flat = rgb.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = torch.cdist(flat, model.palette).argmin(dim=1).view(2, 5, 7)  # type: ignore[arg-type]
    assert torch.equal(ColorClasses(model).classes(rgb), expected)


# ------------------------------------------------------------------------------------ gamut bins


def number(a: float, b: float) -> int:
    (found,) = (ab_bins() == torch.tensor([a, b])).all(dim=1).nonzero()
    return int(found)


def two_colors() -> Batch:
    """Three quarters of the pixels are (0, 0), one quarter (40, 40); quarters of 4x4 pixels."""
    ab = torch.zeros(1, 2, 8, 8)
    ab[:, :, 4:, 4:] = 40.0
    return lab_batch(60, ab)


# at a bin's center the four neighbors at 10 units have exp(-100/50) of its weight
CENTER = 1 / (1 + 4 * math.exp(-2))
BESIDE = math.exp(-2) * CENTER


def kernel(a: float, b: float, center: tuple[float, float]) -> float:
    """What a Gaussian of sigma 5 around a bin gives another; the gamut's rim is far away."""
    step = sum(math.exp(-((10 * i) ** 2) / 50) for i in range(-5, 6))
    return math.exp(-((a - center[0]) ** 2 + (b - center[1]) ** 2) / 50) / step**2


@pytest.mark.parametrize("uniform", [0.5, 0.25])
def test_class_weights_of_two_colors_by_hand(uniform: float) -> None:
    objective = GamutBins(Bins(), uniform=uniform)
    objective.prepare(Bins(), two_colors(), initialized=False)

    def inverse(share: float) -> float:
        return 1 / ((1 - uniform) * share + uniform / 313)

    def share(a: float, b: float) -> float:
        return 0.75 * kernel(a, b, (0, 0)) + 0.25 * kernel(a, b, (40, 40))

    shares = [share(a, b) for a, b in ab_bins().tolist()]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    mean = sum(s * inverse(s) for s in shares)
    for a, b in ((0, 0), (10, 0), (0, -10), (10, 10), (40, 40), (40, 50), (20, 20), (-50, 50)):
        found = objective.weights[number(a, b)].item()
        assert found == pytest.approx(inverse(share(a, b)) / mean, rel=1e-4), (a, b)


def test_smoothing_loses_nothing_at_the_rim() -> None:
    share = torch.zeros(313)
    share[0] = 1.0  # the outermost bin
    made = smoothed(share, ab_bins())
    assert made.sum().item() == pytest.approx(1) and made.argmax() == 0
    assert 0.5 < made[0].item() < 1


def test_gamut_bins_by_hand() -> None:
    objective, batch = GamutBins(Bins(), rebalance=False), two_colors()
    objective.prepare(Bins(), batch, initialized=False)
    assert objective.weights.eq(1).all()
    raw = torch.zeros(1, 313, 2, 2)
    assert objective.loss(raw, batch).item() == pytest.approx(math.log(313), rel=1e-5)
    # one bin has e^5 times the probability of each other
    raw[:, number(0, 0)] = 5.0
    log_sum = math.log(math.exp(5) + 312)
    at_zero = log_sum - 5 * CENTER
    expected = 0.75 * at_zero + 0.25 * log_sum
    assert objective.loss(raw, batch).item() == pytest.approx(expected, rel=1e-5)
    # a pixel's loss counts by the weight of its nearest bin
    objective.weights[number(40, 40)] = 3.0
    expected = 0.75 * at_zero + 3 * 0.25 * log_sum
    assert objective.loss(raw, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_annealed_mean_turns_into_the_most_probable_bin() -> None:
    raw = torch.full((1, 313, 1, 2), -9.0)
    raw[0, number(20, 30), 0] = torch.tensor([2.0, 1.0])
    raw[0, number(-20, 10), 0] = torch.tensor([1.0, 2.0])
    batch = lab_batch(60, torch.zeros(1, 2, 1, 2))
    cold = GamutBins(Bins()).picture(Bins(1e-3), raw, batch)
    expected = join_lab(batch.lab[:, :1], colors((20, 30), (-20, 10)))
    torch.testing.assert_close(cold, expected, atol=1e-5, rtol=0)


def test_the_annealed_mean_by_hand() -> None:
    raw = torch.full((1, 313, 1, 1), -100.0)
    raw[0, number(20, 30)], raw[0, number(-20, 10)] = 1.0, 0.5
    batch = lab_batch(60, torch.zeros(1, 2, 1, 1))
    for temperature in (0.38, 1.0):
        share = 1 / (1 + math.exp(-0.5 / temperature))
        mean = (20 * share - 20 * (1 - share), 30 * share + 10 * (1 - share))
        made = GamutBins(Bins()).picture(Bins(temperature), raw, batch)
        expected = join_lab(batch.lab[:, :1], colors(mean))
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_a_picture_is_what_eccv16_gives() -> None:
    torch.manual_seed(0)
    model = create_model("eccv16", temperature=0.1).eval()
    objective = create_objective("gamut_bins", model, {})
    batch = Batch(Batch(pictures(16), "rgb").lab, "lab")
    with torch.inference_mode():
        made = objective.picture(model, objective.predict(model, batch), batch)
        expected = join_lab(batch.lab[:, :1], model(batch.lightness))
    assert torch.equal(made, expected)


def test_class_weights_go_with_the_checkpoint() -> None:
    first, second = GamutBins(Bins()), GamutBins(Bins())
    first.prepare(Bins(), two_colors(), initialized=False)
    assert set(first.state_dict()) == {"weights"}
    assert not torch.equal(first.weights, second.weights)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    assert torch.equal(first.weights, second.weights)


# -------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "model", "options", "message"),
    [
        ("rgb_mse", "pool_cnn", {}, "'objective': 'rgb_mse' needs a model that predicts 'rgb'"),
        ("color_classes", "plain_cnn", {}, "'objective': 'color_classes' needs a model that pre"),
        ("color_classes", "eccv16", {}, "'objective': 'color_classes' needs a model with a pal"),
        ("mean_chroma", "plain_cnn", {}, "'objective': 'mean_chroma' needs a model that predicts"),
        ("gamut_bins", "autoencoder", {}, "'objective': 'gamut_bins' needs a model that predicts"),
        ("gamut_bins", "pool_cnn", {}, "'objective': 'gamut_bins' needs a model that predicts"),
        ("gamut_bins", "siggraph17", {}, "'objective': 'gamut_bins' needs a model that predicts"),
        ("ab_mse", "pool_cnn", {}, "'objective': 'ab_mse' cannot train a model that chooses co"),
        ("ab_mse", "plain_cnn", {"knee": 1}, "'objective_options': "),
        ("ab_huber", "plain_cnn", {"knee": 0}, "'objective_options': knee must be above 0, not 0"),
        ("ab_huber", "plain_cnn", {"log": -1}, "'objective_options': log must not be negative"),
        ("ab_huber", "plain_cnn", {"knee": "x"}, "'objective_options': "),
        ("gamut_bins", "eccv16", {"temperature": 1}, "'objective_options': "),
        ("ab_mse", "plain_cnn", {"at": "x"}, "'objective_options': at must be one of prediction"),
        ("ab_huber", "plain_cnn", {"at": 1}, "'objective_options': at must be one of prediction"),
        ("gamut_bins", "eccv16", {"uniform": 1.5}, "'objective_options': uniform must lie betwe"),
    ],
)
def test_mismatches_are_one_line(
    name: str, model: str, options: dict[str, Any], message: str
) -> None:
    with torch.device("meta"):
        network = create_model(model)
    with pytest.raises(TrainingError) as caught:
        create_objective(name, network, options)
    line = str(caught.value)
    assert line.startswith(f"recipe key {message}") and "\n" not in line


# ------------------------------------------------------------------------------------ perceptual


def test_perceptual_loss_is_the_sum_of_its_terms() -> None:
    batch = Batch(Batch(pictures(64), "rgb").lab, "lab")
    raw = 0.5 * batch.ab
    terms = [
        AbPerceptual(Bare(), lpips=lpips, color=color).loss(raw, batch)
        for lpips, color in ((0, 0), (1, 0), (0, 1), (2, 3))
    ]
    huber, with_lpips, with_color, both = map(float, terms)
    assert huber == pytest.approx(float(AbHuber(Bare()).loss(raw, batch)))
    assert with_lpips > huber
    assert both == pytest.approx(huber + 2 * (with_lpips - huber) + 3 * (with_color - huber))
    truth = colorfulness(batch.rgb * 255).mean()
    pale = colorfulness(join_lab(batch.lab[:, :1], raw) * 255).mean()
    assert with_color - huber == pytest.approx(float(1 - pale / truth), abs=0.02)


def test_what_the_teacher_says_takes_the_truths_share() -> None:
    truth = lab_batch(50, torch.full((2, 2, 64, 64), 6.0))
    truth.degraded = torch.zeros(2, 1, 64, 64)  # the teacher sees the true L*
    network, entry = load_model("fast")
    with torch.no_grad():
        said = entry.chroma_gain * network(truth.lab[:, :1])
    said = nn.functional.interpolate(said, size=(64, 64), mode="bilinear")
    # where no slope towards the truth cancels one towards the teacher
    raw = torch.full((2, 2, 16, 16), 5.0, requires_grad=True)
    own, taught = AbHuber(Bare()).loss(raw, truth), AbHuber(Bare()).loss(raw, lab_batch(50, said))
    made = AbPerceptual(Bare(), lpips=0, color=0, teacher="fast", taught=0.75).loss(raw, truth)
    wanted = 0.25 * own + 0.75 * taught
    assert abs((own - taught).item()) > 0.01
    # the teacher works in bf16
    assert made.item() == pytest.approx(wanted.item(), rel=0.03)
    slopes = [torch.autograd.grad(loss, raw)[0] for loss in (made, wanted)]
    torch.testing.assert_close(*slopes, rtol=0.05, atol=1e-6)


def test_a_teacher_may_be_a_file_and_pictures_of_any_size(tmp_path: Path) -> None:
    network, entry = load_model("fast")
    file = tmp_path / "teacher.safetensors"
    save_weights(file, network.state_dict(), entry, torch.float32)
    batch = Batch(pictures(side=40), "rgb")
    raw = torch.zeros(2, 2, 10, 10)
    losses = [
        AbPerceptual(Bare(), lpips=0, color=0, teacher=name).loss(raw, batch)
        for name in ("fast", str(file))
    ]
    assert torch.equal(*losses)
    with torch.no_grad():  # in a validation
        assert AbPerceptual(Bare(), lpips=0, color=0, teacher="fast", taught=1).loss(
            raw, batch
        ) == AbHuber(Bare()).loss(raw, batch)
    with pytest.raises(ValueError, match="teacher: no model is called 'nobody'"):
        AbPerceptual(Bare(), teacher="nobody")
    with pytest.raises(ValueError, match="taught must be within 0 and 1"):
        AbPerceptual(Bare(), teacher="fast", taught=1.5)


def test_only_paleness_has_a_price_and_the_truth_is_free() -> None:
    batch = Batch(Batch(pictures(64), "rgb").lab, "lab")
    objective = AbPerceptual(Bare(), color=1)
    assert float(objective.loss(batch.ab, batch)) == pytest.approx(0, abs=5e-3)
    vivid = AbPerceptual(Bare(), lpips=0, color=1).loss(1.5 * batch.ab, batch)
    assert float(vivid) == pytest.approx(float(AbHuber(Bare()).loss(1.5 * batch.ab, batch)))


def test_a_gray_prediction_has_a_finite_gradient_towards_color() -> None:
    batch = Batch(Batch(pictures(64), "rgb").lab, "lab")
    raw = torch.zeros_like(batch.ab, requires_grad=True)
    torch.autograd.backward(AbPerceptual(Bare()).loss(raw, batch))
    assert raw.grad is not None and raw.grad.isfinite().all()
    assert float((raw.grad * batch.ab).sum()) < 0


def test_without_alexnet_the_objective_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(TrainingError, match=r"objective_options\.lpips_weights=FILE"):
        create_objective("ab_perceptual", Bare(), {})
    with pytest.raises(TrainingError, match="must not be negative"):
        create_objective("ab_perceptual", Bare(), {"lpips": -1.0})
