"""siggraph17 against the published layer table."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidcolor.errors import WeightsError
from vidcolor.models import create_model
from vidcolor.models.reproductions.gamut import ab_grid
from vidcolor.models.reproductions.siggraph17 import SIGGRAPH17

# The released state dict, by hand; a bias is as long as its convolution has outputs.
CONVOLUTIONS = {
    "model1.0": (64, 4, 3, 3),
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
    "model3short8.0": (256, 256, 3, 3),
    "model8.1": (256, 256, 3, 3),
    "model8.3": (256, 256, 3, 3),
    "model2short9.0": (128, 128, 3, 3),
    "model9.1": (128, 128, 3, 3),
    "model1short10.0": (128, 64, 3, 3),
    "model10.1": (128, 128, 3, 3),
    "model_class.0": (529, 256, 1, 1),
    "model_out.0": (2, 128, 1, 1),
}
TRANSPOSED = {  # inputs come first, and the bias is as long as the outputs
    "model8up.0": (512, 256, 4, 4),
    "model9up.0": (256, 128, 4, 4),
    "model10up.0": (128, 128, 4, 4),
}
NORMS = {
    "model1.4": 64,
    "model2.4": 128,
    "model3.6": 256,
    "model4.6": 512,
    "model5.6": 512,
    "model6.6": 512,
    "model7.6": 512,
    "model8.5": 256,
    "model9.3": 128,
}


@pytest.fixture(scope="module")
def model() -> SIGGRAPH17:
    torch.manual_seed(0)
    return SIGGRAPH17().eval()


def test_the_state_dict_is_the_published_one(model: SIGGRAPH17) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in CONVOLUTIONS.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, shape in TRANSPOSED.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[1:2]}
    for name, channels in NORMS.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{part}"] = (channels,)
        expected[f"{name}.num_batches_tracked"] = ()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == 34_187_027
    assert all(any(key.startswith(head) for key in expected) for head in model.head_prefixes)


def test_the_hints_are_zero_and_the_skips_meet(model: SIGGRAPH17) -> None:
    """The forward pass written out once more, with the hint planes given as zeros."""
    lightness = 100 * torch.rand(2, 1, 24, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, logits = model(lightness), model.logits(lightness)
        hints = torch.zeros(2, 3, 24, 16)
        one = model.get_submodule("model1")(torch.cat([(lightness - 50) / 100, hints], dim=1))
        two = model.get_submodule("model2")(one[..., ::2, ::2])
        three = model.get_submodule("model3")(two[..., ::2, ::2])
        deep = model.get_submodule("model4")(three[..., ::2, ::2])
        for number in (5, 6, 7):
            deep = model.get_submodule(f"model{number}")(deep)
        eight = model.model8(model.model8up(deep) + model.model3short8(three))
        nine = model.model9(model.model9up(eight) + model.model2short9(two))
        ten = F.relu(model.model10up(nine) + model.model1short10(one))
        ten = F.leaky_relu(model.model10[1](ten), 0.2)
        expected = 110 * torch.tanh(model.model_out[0](ten))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, model.model_class(eight), atol=1e-4, rtol=1e-4)
    assert found.shape == (2, 2, 24, 16) and float(found.abs().max()) <= 110
    assert logits.shape == (2, 529, 6, 4)


def test_each_block_runs_once(model: SIGGRAPH17) -> None:
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in model.named_children()
    ]
    with torch.inference_mode():
        model(torch.zeros(1, 1, 8, 8))
    for handle in handles:
        handle.remove()
    assert sorted(calls) == sorted({n for n, _ in model.named_children()} - {"model_class"})


def test_the_classes_have_colors(model: SIGGRAPH17) -> None:
    grid = model.bins
    assert grid.shape == (529, 2) and torch.equal(grid, ab_grid())
    # class 23 i + j is the i-th a* and the j-th b*
    assert grid[0].tolist() == [-110, -110] and grid[1].tolist() == [-110, -100]
    assert grid[23 * 11 + 11].tolist() == [0, 0] and grid[-1].tolist() == [110, 110]
    # colors do not come from the classes, so there is no other number of them
    with pytest.raises(WeightsError, match="'siggraph17' has no option 'classes'"):
        create_model("siggraph17", classes=313)
