"""Measures of a colorization against the truth, one value for each picture.

Pictures are R'G'B' `(B, 3, H, W)` with values in [0, 255], integer or floating point. Round them to
8 bits before measuring, as an output file is. Every function returns `(B,)`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import WeightsError

NO_LPIPS = "no LPIPS: give --lpips-weights FILE (torchvision's AlexNet, .pth or .safetensors)"

# torchvision's file name of AlexNet's ImageNet weights in torch's hub cache
_HUB_NAME = "alexnet-owt-7be5be79.pth"
_LPIPS_LAYERS = (1, 4, 7, 9, 11)  # indices of AlexNet's five ReLUs in `_alexnet`
# LPIPS normalizes R'G'B' in [-1, 1] with these, as in the authors' code
_LPIPS_MEAN, _LPIPS_DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over channels and pixels of the squared difference, `(B,)` float64.

    Integers are converted first, because uint8 differences would wrap around.
    """
    return (prediction.double() - target.double()).square().mean(dim=(1, 2, 3))


def psnr_of_mse(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of mean squared errors, dB, float32, any shape; peak 255.

    An error of 0 gives 100 dB, so that means over pictures stay finite.
    """
    return (10 * (255**2 / mse.double().clamp_min(255**2 * 1e-10)).log10()).float()


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture over all channels, dB, `(B,)`; peak 255.

    Equal pictures give 100 dB.
    """
    return psnr_of_mse(mean_squared_error(prediction, target))


def _gaussian_means(maps: NDArray[Any]) -> NDArray[Any]:
    """Means of `(N, H, W)` in a Gaussian 11x11 window, sigma 1.5, mirrored at the border."""
    import cv2  # here, because its wheel needs system libraries that a bare machine lacks

    kernel = cv2.getGaussianKernel(11, 1.5)
    border = cv2.BORDER_REFLECT_101
    return np.stack([cv2.sepFilter2D(m, -1, kernel, kernel, borderType=border) for m in maps])


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture, `(B,)` float32, at most 1.

    Gaussian window 11x11 with sigma 1.5, K1 0.01, K2 0.03, data range 255; computed for each
    channel, mirrored at the border, averaged over all pixels. Source: Wang, Bovik, Sheikh and
    Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity",
    section III. Border and constants are those of torchmetrics, whose convolution is twenty times
    slower on a CPU; a test compares the results.

    Raises:
        ValueError: a side is shorter than 11 pixels.
    """
    if min(prediction.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, not {tuple(prediction.shape)}")
    x, y = (t.float().cpu().flatten(0, 1).numpy() for t in (prediction, target))
    mean_x, mean_y = _gaussian_means(x), _gaussian_means(y)
    var_x = _gaussian_means(x * x) - mean_x**2
    var_y = _gaussian_means(y * y) - mean_y**2
    covariance = _gaussian_means(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return torch.from_numpy(similarity.mean(axis=(1, 2))).reshape(len(prediction), -1).mean(dim=1)


def colorfulness(rgb: Tensor, epsilon: float = 0.0) -> Tensor:
    """Colorfulness of each picture, `(B,)`; 0 for gray, about 60 to 100 for vivid photographs.

    sqrt(var rg + var yb) + 0.3 sqrt((mean rg)^2 + (mean yb)^2) with signed rg = R - G and
    yb = (R + G) / 2 - B, population variances. Source: Hasler and Suesstrunk 2003, "Measuring
    colorfulness in natural images", section 5.

    Args:
        rgb: `(B, 3, H, W)` in [0, 255].
        epsilon: added to the radicands, so that gray has a gradient.
    """
    r, g, b = rgb.double().unbind(1)
    opponents = torch.stack([r - g, (r + g) / 2 - b], dim=1).flatten(2)
    spread = (opponents.var(dim=2, correction=0).sum(dim=1) + epsilon).sqrt()
    shift = (opponents.mean(dim=2).square().sum(dim=1) + epsilon).sqrt()
    return (spread + 0.3 * shift).float()


def margin_error(prediction: Tensor, target: Tensor, margin: float = 12.0) -> Tensor:
    """Share of the channel values that differ by `margin` levels or more, `(B,)` in [0, 1].

    This is the "12-margin error" of the colorization literature, or 1 minus its accuracy. A nan
    counts as an error.
    """
    near = (prediction.double() - target.double()).abs() < margin
    return (~near).double().mean(dim=(1, 2, 3)).float()


def _read_features(path: Path) -> dict[str, Tensor]:
    """Read a state dict; `.safetensors`, else a torch file, which is loaded as weights only."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        features: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return features
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no such file; give torchvision's AlexNet weights to --lpips-weights"
        ) from error
    except (
        OSError,
        SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as AlexNet weights ({reason}); copy the file again"
        ) from error


class Lpips(nn.Module):
    """LPIPS: distance of AlexNet's feature maps at five layers, with a linear head for each.

    Source: Zhang, Isola, Efros, Shechtman and Wang 2018, "The unreasonable effectiveness of deep
    features as a perceptual metric"; version 0.1.

    Args:
        features: AlexNet's features.
        heads: weights of the five heads, `(1, C, 1, 1)` each.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: nn.Sequential, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.net = features
        self.heads = nn.ModuleList()
        for weight in heads:
            # on "meta", so that no random weights are drawn
            head = nn.Conv2d(weight.shape[1], 1, 1, bias=False, device="meta")
            head.weight = nn.Parameter(weight)
            self.heads.append(head)
        for name, values in (("mean", _LPIPS_MEAN), ("deviation", _LPIPS_DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[None, :, None, None], persistent=False)
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Normalized feature maps of R'G'B' `(B, 3, H, W)` in [0, 255], sides at least 64."""
        x = (images.float() / 127.5 - 1 - self.mean) / self.deviation
        maps = []
        for index, layer in enumerate(self.net):
            x = layer(x)
            if index in _LPIPS_LAYERS:
                maps.append(x.float())
        return [x / (x.square().sum(dim=1, keepdim=True) + 1e-8).sqrt() for x in maps]

    def distance(self, prediction: list[Tensor], target: list[Tensor]) -> Tensor:
        """Distance of two lists of feature maps, `(B,)`; 0 for equal ones."""
        parts = [
            head((x - y).square()).mean(dim=(1, 2, 3))
            for head, x, y in zip(self.heads, prediction, target, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """LPIPS of each picture, `(B,)`; both `(B, 3, H, W)` in [0, 255], sides at least 64."""
        return self.distance(self.features(prediction), self.features(target))


def _lpips_heads() -> list[Tensor]:
    """Weights of the five heads, `(1, C, 1, 1)` each, from torchmetrics' data file.

    Raises:
        WeightsError: the installed torchmetrics has no such file, or another one.
    """
    spec = find_spec("torchmetrics")  # does not import it, which would take seconds
    folder = Path((spec and spec.origin) or "torchmetrics").parent
    path = folder / "functional" / "image" / "lpips_models" / "alex.pth"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        heads: list[Tensor] = [state[f"lin{i}.model.1.weight"] for i in range(len(_LPIPS_LAYERS))]
    except (OSError, KeyError, pickle.UnpicklingError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: the LPIPS heads are missing or of another form; install torchmetrics 1.6 to "
            "1.9, or leave out LPIPS"
        ) from error
    return heads


def find_alexnet() -> Path | None:
    """AlexNet's file in torch's hub cache, if there is one."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / _HUB_NAME
    return path if path.is_file() else None


def load_lpips(weights: Path | None = None) -> Lpips | None:
    """Load the LPIPS network on the CPU; None if AlexNet's features are not available.

    Nothing is downloaded: the linear heads ship with torchmetrics, and the features come from
    `weights` or from torch's hub cache. Print `NO_LPIPS` for None.

    Args:
        weights: state dict of torchvision's AlexNet, or of its `features` alone: `.safetensors`,
            else a `.pth` file, which is loaded as weights only.

    Raises:
        WeightsError: the file is missing, truncated or not AlexNet's, or torchmetrics lacks the
            heads.
    """
    path = weights or find_alexnet()
    if path is None:
        return None
    return Lpips(_alexnet(_read_features(path), path), _lpips_heads()).eval()


def _alexnet(state: dict[str, Tensor], origin: Path) -> nn.Sequential:
    """AlexNet's features, named as in torchvision, with the weights of `state` read from `origin`.

    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
    """
    with torch.device("meta"):  # draws no random weights
        network = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
        )
    weights: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        given = state.get(f"features.{name}", state.get(name))
        if not isinstance(given, Tensor) or given.shape != value.shape:
            raise WeightsError(
                f"{origin}: not the weights of torchvision's AlexNet (layer {name.split('.')[0]} "
                "is missing or of another shape); give its .pth file or a safetensors copy"
            )
        weights[name] = given.float()
    network.load_state_dict(weights, assign=True)
    return network
