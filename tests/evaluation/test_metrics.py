"""Metrics against values computed by hand, and against torchmetrics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vidcolor.errors import WeightsError
from vidcolor.evaluation import metrics


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Two pictures and noisy copies, `(2, 3, 64, 80)` in [0, 255], smooth enough for SSIM."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 8, 10, generator=generator) * 255
    truth = torch.nn.functional.interpolate(coarse, (64, 80), mode="bilinear").round()
    noise = (
        torch.randn(truth.shape, generator=generator)
        * torch.tensor([4.0, 20.0])[:, None, None, None]
    )
    return (truth + noise).clamp(0, 255).round(), truth


@pytest.fixture(scope="module")
def alexnet() -> dict[str, Tensor]:
    """Random AlexNet features under the names of torchvision's `features`."""
    from torchvision.models import alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {k: v.clone() for k, v in alexnet(weights=None).features.state_dict().items()}


def flat(value: float) -> Tensor:
    return torch.full((1, 3, 4, 4), value)


def test_psnr_by_hand() -> None:
    # a difference of 1 everywhere: 20 log10(255); of 25.5: 20 dB
    assert metrics.psnr(flat(101), flat(100)).item() == pytest.approx(48.1308, abs=1e-4)
    assert metrics.psnr(flat(100), flat(125.5)).item() == pytest.approx(20, abs=1e-4)
    assert metrics.psnr(flat(7), flat(7)).item() == 100


def test_psnr_widens_integers() -> None:
    prediction, target = flat(0).to(torch.uint8), flat(250).to(torch.uint8)
    # a uint8 difference would wrap to 6 and give 32.6 dB
    assert metrics.psnr(prediction, target).item() == pytest.approx(0.172, abs=1e-3)


def test_psnr_agrees_with_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    expected = peak_signal_noise_ratio(*pair, data_range=255.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(metrics.psnr(*pair), expected, atol=1e-4, rtol=0)


def test_pooled_psnr_weighs_errors_not_decibels(pair: tuple[Tensor, Tensor]) -> None:
    mse = metrics.mean_squared_error(*pair)
    assert mse.dtype == torch.float64
    pooled = float(metrics.psnr_of_mse(mse.mean()))
    assert pooled < float(metrics.psnr(*pair).mean()) - 2


def test_ssim_agrees_with_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    expected = structural_similarity_index_measure(
        *pair, sigma=1.5, data_range=255.0, reduction="none"
    )
    result = metrics.ssim(*pair)
    assert result.shape == (2,)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
    assert metrics.ssim(pair[1], pair[1]).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_ssim_of_flat_pictures_by_hand() -> None:
    # without variance only the luminance term is left: (2 xy + C1) / (x^2 + y^2 + C1)
    c1 = 2.55**2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    flat_pair = (torch.full((1, 3, 16, 16), v) for v in (100.0, 150.0))
    assert metrics.ssim(*flat_pair).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_names_a_picture_too_small() -> None:
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(flat(1), flat(1))


def test_colorfulness_by_hand() -> None:
    # half red, half gray: rg is 255 or 0, yb 127.5 or 0; means 127.5 and 63.75, deviations alike
    picture = torch.zeros(1, 3, 2, 2)
    picture[0, 0, 0] = 255
    picture[0, :, 1] = 80
    spread = (127.5**2 + 63.75**2) ** 0.5
    assert metrics.colorfulness(picture).item() == pytest.approx(1.3 * spread, rel=1e-5)


def test_colorfulness_is_signed_and_zero_for_gray() -> None:
    assert metrics.colorfulness(flat(90)).item() == 0
    # red and green halves: rg is +200 and -200, so its mean is 0; yb is 100 throughout
    picture = torch.zeros(1, 3, 2, 2)
    picture[0, 0, 0] = 200
    picture[0, 1, 1] = 200
    assert metrics.colorfulness(picture).item() == pytest.approx(200 + 0.3 * 100, rel=1e-5)


def test_margin_error_counts_from_12_on() -> None:
    target = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    prediction = target.clone()
    prediction[0, 0] = torch.tensor([[111, 112], [88, 89]], dtype=torch.uint8)
    assert metrics.margin_error(prediction, target).item() == pytest.approx(2 / 12)


def test_without_features_there_is_no_lpips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert metrics.load_lpips() is None
    assert "--lpips-weights" in metrics.NO_LPIPS


def test_lpips_agrees_with_torchmetrics(
    tmp_path: Path,
    alexnet: dict[str, Tensor],
    pair: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_file(alexnet, tmp_path / "alexnet.safetensors")
    state = torch.random.get_rng_state()
    lpips = metrics.load_lpips(tmp_path / "alexnet.safetensors")
    assert lpips is not None
    assert torch.equal(torch.random.get_rng_state(), state)
    result = lpips(*pair)
    assert result.shape == (2,)
    assert float(result.min()) > 0
    assert lpips(pair[0], pair[0]).tolist() == [0, 0]

    # torchmetrics reads AlexNet from torch's hub cache
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity
    from torchvision.models import alexnet as full_alexnet

    network = full_alexnet(weights=None)
    network.features.load_state_dict(alexnet)
    (tmp_path / "checkpoints").mkdir()
    torch.save(network.state_dict(), tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    expected = learned_perceptual_image_patch_similarity(
        pair[0] / 127.5 - 1, pair[1] / 127.5 - 1, net_type="alex", reduction="none"
    )
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)


def test_lpips_names_a_torchmetrics_without_its_heads(
    tmp_path: Path, alexnet: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(alexnet, tmp_path / "alexnet.safetensors")
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="install torchmetrics"):
        metrics.load_lpips(tmp_path / "alexnet.safetensors")


def test_lpips_reads_torchvision_files_and_the_hub_cache(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alexnet: dict[str, Tensor],
    pair: tuple[Tensor, Tensor],
) -> None:
    save_file(alexnet, tmp_path / "features.safetensors")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    whole = {f"features.{k}": v for k, v in alexnet.items()} | {"classifier.1.bias": torch.zeros(1)}
    torch.save(whole, folder / "alexnet-owt-7be5be79.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    from_cache, from_file = (
        metrics.load_lpips(),
        metrics.load_lpips(tmp_path / "features.safetensors"),
    )
    assert from_cache is not None
    assert from_file is not None
    assert torch.equal(from_cache(*pair), from_file(*pair))


def test_bad_lpips_weights_are_named(tmp_path: Path, alexnet: dict[str, Tensor]) -> None:
    missing = tmp_path / "missing.pth"
    with pytest.raises(WeightsError, match=r"missing\.pth: no such file"):
        metrics.load_lpips(missing)

    for name in ("cut.safetensors", "cut.pth"):
        path = tmp_path / name
        path.write_bytes(b"\x10\x00\x00 cut short")
        with pytest.raises(WeightsError, match=rf"{name}: .*; copy the file again"):
            metrics.load_lpips(path)

    del alexnet["6.weight"]
    save_file(alexnet, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors: not the weights .*layer 6"):
        metrics.load_lpips(tmp_path / "other.safetensors")
