"""Measures of a colorization against the truth, one value for each picture.

Pictures are R'G'B' `(B, 3, H, W)` with values in [0, 255], integer or floating point; round to
8 bits before measuring, as a viewer's file would be. Every function returns `(B,)`.

torchmetrics, which carries the linear heads of LPIPS, is imported on first use, because importing
it takes seconds.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import WeightsError

NO_LPIPS = "no LPIPS: give --lpips-weights FILE (torchvision's AlexNet, .pth or .safetensors)"

# torchvision's file name of AlexNet's ImageNet weights in torch's hub cache
_HUB_NAME = "alexnet-owt-7be5be79.pth"
# the places of AlexNet's five convolutions in torchvision's `features`
_CONVOLUTIONS = (0, 3, 6, 8, 10)


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over channels and pixels of the squared difference, `(B,)` float64.

    The values are widened first: uint8 differences would wrap around.
    """
    return (prediction.double() - target.double()).square().mean(dim=(1, 2, 3))


def psnr_of_mse(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for mean squared errors of any shape; peak 255, float32.

    An error of 0 gives 100 dB, so that a mean over pictures stays finite.
    """
    return (10 * (255**2 / mse.double().clamp_min(255**2 * 1e-10)).log10()).float()


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, dB, `(B,)`; values in [0, 255], peak 255.

    All channels are pooled. Equal pictures give 100 dB.
    """
    return psnr_of_mse(mean_squared_error(prediction, target))


def _window_means(maps: np.ndarray) -> np.ndarray:
    """Gaussian 11x11 means, sigma 1.5, of `(N, H, W)`; the picture is mirrored at its border."""
    import cv2  # here, because its wheel needs system libraries that a bare machine lacks

    kernel = cv2.getGaussianKernel(11, 1.5)
    border = cv2.BORDER_REFLECT_101
    return np.stack([cv2.sepFilter2D(m, -1, kernel, kernel, borderType=border) for m in maps])


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture, `(B,)` float32, at most 1.

    Gaussian window 11x11 with sigma 1.5, K1 0.01, K2 0.03, data range 255, per channel, averaged
    over all pixels, the picture mirrored at its border; H and W are at least 11. Source: Wang,
    Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to
    structural similarity", section III. The border and the numbers are those of torchmetrics, to
    which the tests hold it; its convolution takes twenty times as long on a CPU.

    Raises:
        ValueError: a side is shorter than 11 pixels.
    """
    if min(prediction.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, not {tuple(prediction.shape)}")
    x, y = (t.float().cpu().flatten(0, 1).numpy() for t in (prediction, target))
    mean_x, mean_y = _window_means(x), _window_means(y)
    var_x = _window_means(x * x) - mean_x**2
    var_y = _window_means(y * y) - mean_y**2
    covariance = _window_means(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return torch.from_numpy(similarity.mean(axis=(1, 2))).reshape(len(prediction), -1).mean(dim=1)


def colourfulness(rgb: Tensor, epsilon: float = 0.0) -> Tensor:
    """Colourfulness of each picture, `(B,)`, 0 for grey; a vivid photograph has about 60 to 100.

    `epsilon` is added to what stands under the two roots, so that grey has a gradient.

    With signed rg = R - G and yb = (R + G) / 2 - B: sqrt(var rg + var yb) +
    0.3 sqrt((mean rg)^2 + (mean yb)^2), population variances. Source: Hasler and Suesstrunk 2003,
    "Measuring colourfulness in natural images", section 5.
    """
    r, g, b = rgb.double().unbind(1)
    opponents = torch.stack([r - g, (r + g) / 2 - b], dim=1).flatten(2)
    spread = (opponents.var(dim=2, correction=0).sum(dim=1) + epsilon).sqrt()
    shift = (opponents.mean(dim=2).square().sum(dim=1) + epsilon).sqrt()
    return (spread + 0.3 * shift).float()


def margin_error(prediction: Tensor, target: Tensor, margin: float = 12.0) -> Tensor:
    """Share of the channel values that differ by `margin` or more of 255, `(B,)` in [0, 1].

    The "12-margin error" of the colorization literature; accuracy is 1 minus it. A nan is an error.
    """
    near = (prediction.double() - target.double()).abs() < margin
    return (~near).double().mean(dim=(1, 2, 3)).float()


def _read_features(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no such file; --lpips-weights wants AlexNet weights"
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
            f"{path}: not readable as AlexNet weights ({reason}); copy the file again"
        ) from error


class Lpips(nn.Module):
    """The network of LPIPS: AlexNet's five feature maps and a linear head for each.

    Source: Zhang, Isola, Efros, Shechtman and Wang 2018, "The unreasonable effectiveness of deep
    features as a perceptual metric"; version 0.1, whose heads ship with torchmetrics.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of unit length, of R'G'B' `(B, 3, H, W)` in [0, 255], sides at least 64."""
        scaled = self.network.scaling_layer(images.float() / 127.5 - 1)
        return [
            x / (x.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
            for x in map(Tensor.float, self.network.net(scaled))
        ]

    def distance(self, prediction: list[Tensor], target: list[Tensor]) -> Tensor:
        """Distance of two lists of feature maps, `(B,)`; 0 is equal."""
        heads = self.network.lins
        parts = [
            head((x - y).square()).mean(dim=(1, 2, 3))
            for head, x, y in zip(heads, prediction, target, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """LPIPS of each picture, `(B,)`; both `(B, 3, H, W)` in [0, 255], sides at least 64."""
        return self.distance(self.features(prediction), self.features(target))


def _lpips_network(features: dict[str, Tensor], origin: Path) -> Lpips:
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    # AlexNet is first filled with random numbers; the caller's random state stays as it was
    with torch.random.fork_rng(devices=[]):
        network = _NoTrainLpips(net="alex", pnet_rand=True)
    wanted: dict[str, Tensor] = {}
    for number, layer in enumerate(_CONVOLUTIONS, start=1):
        for kind in ("weight", "bias"):
            found = features.get(f"features.{layer}.{kind}", features.get(f"{layer}.{kind}"))
            if isinstance(found, Tensor):
                wanted[f"slice{number}.{layer}.{kind}"] = found.float()
    for name, value in network.net.state_dict().items():
        if name not in wanted or wanted[name].shape != value.shape:
            raise WeightsError(
                f"{origin}: not the weights of torchvision's AlexNet (layer {name.split('.')[1]} "
                "is missing or of another shape); give its .pth file or a safetensors copy"
            )
    network.net.load_state_dict(wanted)
    return Lpips(network).eval()


def load_lpips(weights: Path | None = None) -> Lpips | None:
    """The LPIPS network, on the CPU, or None where its AlexNet features are not at hand.

    Nothing is ever downloaded: the linear heads ship with torchmetrics, the features come from
    `weights` or else from torch's hub cache. Print `NO_LPIPS` for None.

    Args:
        weights: state dict of torchvision's AlexNet, or of its `features` alone: `.safetensors`,
            else a `.pth` file (loaded without running any code of it).

    Raises:
        WeightsError: the file is missing, cut short, or not AlexNet's.
    """
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / _HUB_NAME
    if weights is None and not path.is_file():
        return None
    return _lpips_network(_read_features(path), path)
