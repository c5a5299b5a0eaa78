"""The colorizer: sizes, devices, rotation, adjustment, single pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.pretend_cuda import CUDA, pretend_cuda
from vidcolor.color.adjust import ColorAdjustment
from vidcolor.color.compose import compose
from vidcolor.color.convert import gray_to_lightness, rgb_to_lab
from vidcolor.errors import DeviceError, WeightsError
from vidcolor.frames import ColorTags, LumaBatch, PixelFormat, picture_format
from vidcolor.models.base import ColorModel
from vidcolor.models.weights import manifest
from vidcolor.motion.stabilizer import Stabilizer
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.prepared import model_size
from vidcolor.run.settings import ColorizerOptions
from vidcolor.system.devices import PRECISIONS, choose_device, choose_precision, is_out_of_memory

YUV = PixelFormat("yuv420p", 8, (2, 2), False, ColorTags(False, "bt709"))


def frames(count: int, height: int = 48, width: int = 64) -> LumaBatch:
    generator = torch.Generator().manual_seed(3)
    luma = torch.randint(16, 236, (count, 1, height, width), dtype=torch.uint8, generator=generator)
    return LumaBatch(luma, 8, False, tuple(range(count)), (1,) * count)


def scene() -> LumaBatch:
    """A sky that darkens upward over textured ground with a few blocks on it."""
    generator = torch.Generator().manual_seed(4)
    luma = torch.linspace(150, 230, 240)[:, None].repeat(1, 320)
    luma[130:] = 90 + 25 * torch.randn(110, 320, generator=generator)
    for i in range(4):
        luma[70 + 10 * i : 180, 30 + 70 * i : 75 + 70 * i] = 50 + 45 * i
    luma += 3 * torch.randn(240, 320, generator=generator)
    return LumaBatch(luma.clamp(16, 235).to(torch.uint8)[None, None], 8, False, (0,), (1,))


@pytest.fixture(scope="module")
def fast() -> Colorizer:
    return Colorizer("fast", device="cpu", size=64, precision="fp32")


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        ((256, 256), (256, 256)),
        ((480, 640), (224, 288)),
        ((1080, 1920), (192, 352)),
        ((10, 2000), (32, 3616)),
    ],
)
def test_model_size_keeps_the_shape_and_the_number_of_pixels(
    frame: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert model_size(*frame, 256, 32) == wanted


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-3), ("bf16", 0.1)])
def test_a_batch_equals_its_singles(precision: str, bound: float) -> None:
    batch = frames(5)
    model = Colorizer("fast", device="cpu", size=64, precision=precision)
    together = model(batch)
    apart = torch.cat([model(batch[i : i + 1]) for i in range(5)])
    assert together.shape == (5, 2, 16, 16)
    assert torch.allclose(together, apart, atol=bound)


def test_rotated_frames_are_seen_upright(fast: Colorizer) -> None:
    upright = frames(1)
    turned = LumaBatch(
        torch.rot90(upright.luma, 1, (-2, -1)), 8, False, (0,), (1,), rotation=90
    )  # stored a quarter turn anticlockwise: shown upright by turning 90 degrees clockwise
    assert torch.allclose(torch.rot90(fast(turned), -1, (-2, -1)), fast(upright), atol=1e-3)


@pytest.mark.parametrize("asked", ["fp32", "auto", "bf16"])
def test_another_device_gets_a_copy_of_its_own(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr("vidcolor.system.devices.has_bf16", lambda: True)
    first = Colorizer("fast", device="cpu", precision=asked)
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    other = first.on(torch.device("meta"))
    assert {p.device.type for p in other.model.parameters()} == {"meta"}
    assert other.device.type == "meta" and first.device.type == "cpu"
    assert first.on(torch.device("cpu")) is first
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert first.precision == {"fp32": "fp32", "auto": "bf16", "bf16": "bf16"}[asked]
    assert other.precision == {"fp32": "fp32", "auto": "fp32", "bf16": "bf16"}[asked]


def test_a_copy_predicts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = frames(2)
    with pretend_cuda(monkeypatch):
        gpu = Colorizer("fast", device=str(CUDA), size=64, precision="fp32")
        cpu = gpu.on(torch.device("cpu"))
        found = cpu(batch)
        assert cpu.device.type == "cpu" and found.device.type == "cpu"
        assert gpu.device == CUDA and gpu(batch.to(CUDA)).device == CUDA
    wanted = Colorizer("fast", device="cpu", size=64, precision="fp32")(batch)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "text", ["MPS backend out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"]
)
def test_every_kind_of_out_of_memory_is_known(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


class Broken(ColorModel):
    """Predicts nan, in reduced precision only or always."""

    def __init__(self, inner: ColorModel, always: bool) -> None:
        super().__init__()
        self.inner, self.always = inner, always

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        ab = self.inner(lightness)
        broken = self.always or torch.is_autocast_enabled("cpu")
        return ab * float("nan") if broken else ab


def test_values_that_are_not_finite_are_never_written() -> None:
    batch = frames(2)
    colorizer = Colorizer("_ramp", device="cpu", precision="bf16")
    expected = colorizer(batch)
    colorizer.model = Broken(colorizer.model, always=False)
    assert torch.equal(colorizer(batch), expected)
    colorizer.model = Broken(colorizer.model, always=True)
    with pytest.raises(WeightsError, match="not finite"):
        colorizer(batch)


def test_colorize_one_picture(fast: Colorizer) -> None:
    gray = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    ramp = Colorizer("_ramp", device="cpu")
    color = ramp.colorize(gray)
    assert color.shape == (60, 80, 3) and color.dtype == np.uint8
    lab = rgb_to_lab(torch.from_numpy(color).permute(2, 0, 1).float() / 255)
    gray_lab = rgb_to_lab(torch.from_numpy(np.stack([gray] * 3)).float() / 255)
    assert (lab[0] - gray_lab[0]).abs().max() < 0.4
    middle = lab[:, 30, 40]
    assert abs(middle[1] - 0.3 * (middle[0] - 50)) < 2
    assert ramp.colorize(gray.astype(np.uint16) * 257).dtype == np.uint16
    assert np.array_equal(ramp.colorize(np.stack([gray] * 3, axis=-1)), color)
    with pytest.raises(ValueError, match="float32"):
        ramp.colorize(gray.astype(np.float32))


def test_saturation_scales_the_chroma() -> None:
    batch = frames(1)
    full, half, none = (
        Colorizer("_ramp", device="cpu", adjustment=ColorAdjustment(saturation=s))(batch)
        for s in (1.0, 0.5, 0.0)
    )
    assert torch.allclose(half, full / 2) and not none.any()


def test_the_look_is_applied_at_the_frames_lightness() -> None:
    levels = torch.tensor([16, 80, 125, 180, 235], dtype=torch.uint8)
    batch = LumaBatch(levels.view(5, 1, 1, 1).expand(5, 1, 64, 64), 8, False, (0,) * 5, (0,) * 5)
    plain = Colorizer("_ramp", device="cpu", size=64)
    warm = Colorizer(
        "_ramp", device="cpu", size=64, adjustment=ColorAdjustment(0.5, temperature=40, tint=-20)
    )
    light = gray_to_lightness((levels.float() - 16) / 219) / 100
    shift = (warm(batch) - plain(batch) / 2).mean(dim=(2, 3))
    window = 4 * light * (1 - light)
    assert torch.allclose(shift[:, 1], 8 * window, atol=0.02)
    assert torch.allclose(shift[:, 0], -4 * window, atol=0.02)
    picture = torch.full((1, 1, 60, 80), 50.0)
    assert torch.allclose(
        warm.predict_full_size(picture) - plain.predict_full_size(picture) / 2,
        torch.tensor([-4.0, 8.0]).view(1, 2, 1, 1).expand(1, 2, 60, 80),
        atol=0.02,
    )


def test_mirroring_is_the_mean_of_both_views(fast: Colorizer) -> None:
    batch = frames(2)
    mirrored = replace(batch, luma=batch.luma.flip(-1))
    both = Colorizer("fast", device="cpu", size=64, tta=True, precision="fp32")
    wanted = (fast(batch) + fast(mirrored).flip(-1)) / 2
    assert torch.allclose(both(batch), wanted, atol=1e-3)
    assert not torch.allclose(both(batch), fast(batch), atol=0.1)


def test_mirroring_makes_mirror_images_of_mirror_images() -> None:
    both = Colorizer("fast", device="cpu", size=64, tta=True, precision="fp32")
    lightness = 100 * torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():  # at the model's own resolution, where nothing is resized
        once, again = both.network(lightness), both.network(lightness.flip(-1))
    assert torch.equal(again, once.flip(-1))


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (33, 65)])
@pytest.mark.parametrize("size", [32, 33, 100])
def test_any_frame_at_any_size(shape: tuple[int, int], size: int) -> None:
    """Sizes off the stride are rounded to it; wide and tall frames keep their shape."""
    model = Colorizer("fast", device="cpu", size=size)
    luma = torch.randint(16, 236, (1, 1, *shape), dtype=torch.uint8)
    batch = LumaBatch(luma, 8, False, (0,), (0,))
    color = compose(batch, model(batch), YUV)
    assert color.planes[0].shape == (1, *shape)
    assert model.predict_full_size(torch.rand(1, 1, *shape) * 100).shape == (1, 2, *shape)


def test_devices_and_precisions() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:99", "tpu", "nonsense", "meta"):
        with pytest.raises(DeviceError):
            choose_device(name)
    with pytest.raises(DeviceError):
        choose_precision("fp8", torch.device("cpu"))


@pytest.mark.parametrize(
    ("bf16", "mixed", "chosen"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32")],
)
def test_auto_takes_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, mixed: bool, chosen: str
) -> None:
    monkeypatch.setattr("vidcolor.system.devices.has_bf16", lambda: bf16)
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu, mixed) == chosen


def test_every_precision_can_be_asked_for() -> None:
    """Settings list them again, because `--help` must not import torch."""
    for name in PRECISIONS:
        assert ColorizerOptions(precision=name).precision == name
    with pytest.raises(ValueError, match=r"precision must be one of .*fp32"):
        ColorizerOptions(precision="fp8")


@pytest.mark.parametrize("name", sorted(manifest()))
@pytest.mark.parametrize("format", [YUV, picture_format(8)], ids=lambda format: format.name)
def test_bf16_shows_in_no_pixel(name: str, format: PixelFormat) -> None:
    """Within one level of fp32 on 99.9 % of the pixels; bf16 throughout is not."""
    batch = scene()
    planes = {}
    for precision in ("fp32", "bf16"):
        model = Colorizer(name, device="cpu", precision=precision)
        color = compose(batch, model(batch), format)
        planes[precision] = torch.cat([plane.flatten().int() for plane in color.planes])
    difference = (planes["bf16"] - planes["fp32"]).abs()
    assert (difference > 1).float().mean() < 1e-3
    assert (planes["fp32"] != 128).any()  # in color


def test_bf16_stays_near_fp32(fast: Colorizer) -> None:
    batch = frames(2)
    near = Colorizer("fast", device="cpu", size=64, precision="bf16")(batch)
    assert near.dtype == torch.float32
    assert (near - fast(batch)).abs().mean() < 1.0


@pytest.mark.gpu
def test_a_gpu_gives_the_cpu_pixels(fast: Colorizer) -> None:
    batch = frames(4)
    reference = compose(batch, fast(batch), YUV)
    gpu = Colorizer("fast", device="cuda", size=64)
    color = compose(batch.to(gpu.device), gpu(batch.to(gpu.device)), YUV)
    for ours, theirs in zip(color.planes, reference.planes, strict=True):
        difference = (ours.int() - theirs.int()).abs()
        assert (difference > 1).float().mean() < 1e-3


@pytest.mark.parametrize("model", ["fast", "best"])
def test_what_a_gpu_would_run_gives_the_same_chroma(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Stabilized, with adjusted colors and mirrored frames; nothing on the wrong device."""
    moving = torch.stack([scene().luma[0, :, :, i : i + 240] for i in range(0, 20, 4)])
    batch = LumaBatch(moving, 8, False, tuple(range(5)), (1,) * 5, cuts=(True,) + (False,) * 4)
    options: dict[str, Any] = {
        "size": 64,
        "precision": "fp32",
        "adjustment": ColorAdjustment(1.2, 10, -5),
        "tta": True,
    }
    wanted = Colorizer(model, device="cpu", **options)(batch, Stabilizer())
    with pretend_cuda(monkeypatch) as device:
        gpu = Colorizer(model, device=str(CUDA), **options)
        del device.waits[:]
        found = gpu(batch.to(CUDA), Stabilizer())
        assert found.device == CUDA
        found = found.cpu()
    assert torch.allclose(found, wanted, atol=1e-3)
    assert wanted.abs().max() > 5
    # L* for the flow and for the steadying, a*b*, the result, and whether both a*b* are finite
    assert sorted(device.waits) == ["__bool__"] * 2 + ["cpu"] * 4


def test_gmacs_grow_with_the_size() -> None:
    own, larger = (Colorizer("fast", device="cpu", size=size) for size in (None, 448))
    assert own.gmacs == pytest.approx(1.58, abs=0.01)
    assert larger.gmacs == pytest.approx(4 * own.gmacs)
    assert Colorizer("_ramp", device="cpu").gmacs == 0


def test_the_network_takes_fewer_frames_the_larger_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Colorizer("_ramp", device="cpu")
    seen: list[int] = []

    def network(lightness: torch.Tensor) -> torch.Tensor:
        seen.append(len(lightness))
        return torch.zeros(len(lightness), 2, 8, 8)

    monkeypatch.setattr(model.model, "forward", network)
    for count, side in ((9, 224), (3, 512), (5, 32), (0, 64)):
        assert model.network(torch.zeros(count, 1, side, side)).shape[0] == count
    assert seen == [5, 4, 1, 1, 1, 5, 0]
