"""Compare objectives: small heads on one frozen encoder, all else equal.

    python train/scripts/heads.py resnet50v2_trunk.safetensors photos-train-00.zip \\
        photos-val-00.zip --lpips-weights alexnet.safetensors

The encoder's features of every picture are computed once and kept in memory (0.5 MB a picture as
fp16 at 144 pixels), so a head trains in minutes on one core. Each head's chroma is then scaled so
that its colorfulness is 0.7 of the truth's: paler colors alone have a better PSNR.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcolor.color.convert import rgb_to_lab
from vidcolor.color.gamut import limit_chroma
from vidcolor.evaluation.metrics import colorfulness, load_lpips, psnr
from vidcolor.evaluation.picture_sets import square, stream_pictures
from vidcolor.models.blocks import conv_norm_relu
from vidcolor.models.reproductions.gamut import ab_bins, soft_encode
from vidcolor.models.resnet import ResNetEncoder
from vidcolor.models.state_dicts import read_tensors
from vidcolor.models.weights import load_model
from vidcolor.training.data.batch import Batch
from vidcolor.training.objectives.ab_perceptual import AbPerceptual
from vidcolor.training.objectives.base import join_lab
from vidcolor.training.objectives.gamut_bins import smoothed

SIDE, BATCH, WANTED = 144, 16, 0.7
TEACHER_SIDE = 160  # a multiple of its stride
Set = tuple[Tensor, Tensor, Tensor]  # Lab (N, 3, S, S), features at the strides 16 and 8; fp16


class Head(nn.Module):
    """Features at the strides 16 and 8 to `outputs` channels at stride 8."""

    def __init__(self, deep: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.deep, self.fine = conv_norm_relu(deep, 192, 1), conv_norm_relu(fine, 64, 1)
        self.body = nn.Sequential(conv_norm_relu(256, 160, 3), conv_norm_relu(160, 128, 3))
        self.last = nn.Conv2d(128, outputs, 1)

    def forward(self, deep: Tensor, fine: Tensor) -> Tensor:
        x = F.interpolate(self.deep(deep), scale_factor=2.0, mode="bilinear")
        made: Tensor = self.last(self.body(torch.cat([x, self.fine(fine)], dim=1)))
        return made


@torch.inference_mode()
def cached(encoder: nn.Module, path: Path, count: int) -> Set:
    """The first `count` colorful pictures of a zip, and their features."""
    labs, deep, fine = [], [], []
    for _, picture in islice(stream_pictures([path], []), count):
        lab = rgb_to_lab(square(picture, SIDE).float()[None] / 255)
        if float(lab[:, 1:].square().sum(dim=1).sqrt().mean()) < 2:
            continue
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(lab[:, :1] / 100)
        labs.append(lab.half())
        deep.append(features[16].half())
        fine.append(features[8].half())
    return torch.cat(labs).clone(), torch.cat(deep).clone(), torch.cat(fine).clone()


def batches(data: Set, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The set in random order, float32."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
    for index in torch.split(order[: len(order) // BATCH * BATCH], BATCH):
        lab, deep, fine = (part[index].float() for part in data)
        yield lab, deep, fine


class Adversarial:
    """Huber loss plus the score of a critic that learns to tell true from predicted chroma.

    The critic gets L*, a*, b* at stride 8 and scores each neighborhood of 11 places (PatchGAN,
    Isola et al. 2017). It learns by the hinge loss, one step for each step of the head.
    """

    def __init__(self, price: float) -> None:
        self.price = price
        self.critic = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.LeakyReLU(0.2),
            *(layer for _ in range(3) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())),
            nn.Conv2d(64, 1, 3, padding=1),
        )
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr=2e-4, betas=(0.5, 0.99))

    def __call__(self, raw: Tensor, lab: Tensor) -> Tensor:
        truth = F.interpolate(lab, scale_factor=1 / 8, mode="area") / 50
        made = torch.cat([truth[:, :1], raw / 5], dim=1)
        wrong = F.relu(1 - self.critic(truth)) + F.relu(1 + self.critic(made.detach()))
        self.optimizer.zero_grad()
        torch.autograd.backward(wrong.mean())
        self.optimizer.step()
        huber = F.huber_loss(10 * raw, 50 * truth[:, 1:], delta=10.0) / 10
        judgment: Tensor = self.critic(made).mean()
        return huber - self.price * judgment


def train(
    head: Head, loss: Callable[[Tensor, Tensor], Tensor], data: Set, epochs: int, rate: float = 1e-3
) -> None:
    """AdamW, the rate falling linearly to 0; `loss` takes the head's output and the truth's Lab."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * (len(data[0]) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    head.train()
    for epoch in range(epochs):
        for lab, deep, fine in batches(data, epoch):
            with torch.autocast("cpu", torch.bfloat16):
                raw = head(deep, fine)
            value = loss(raw.float(), lab)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            schedule.step()
    head.eval()


@torch.inference_mode()
def measure(
    name: str, head: Head, decode: Callable[[Tensor], Tensor], val: Set, lpips: nn.Module
) -> None:
    """Print the head's measures, as predicted and at the wanted colorfulness."""
    lab = val[0].float()
    raw = torch.cat(
        [
            head(d.float(), f.float())
            for d, f in zip(torch.split(val[1], 16), torch.split(val[2], 16), strict=True)
        ]
    )
    ab = decode(raw)
    truth = (join_lab(lab[:, :1], lab[:, 1:]) * 255).round()
    gray = (join_lab(lab[:, :1], torch.zeros_like(ab)) * 255).round()
    wanted, floor = colorfulness(truth).mean(), psnr(gray, truth).mean()

    def made(gain: float) -> Tensor:
        full = F.interpolate(gain * ab, size=lab.shape[-2:], mode="bilinear")
        return (join_lab(lab[:, :1], limit_chroma(lab[:, :1], full)) * 255).round()

    def figures(gain: float) -> str:
        picture = made(gain)
        parts = zip(torch.split(picture, 32), torch.split(truth, 32), strict=True)
        distance = torch.cat([lpips(a, b) for a, b in parts]).mean()
        share = colorfulness(picture).mean() / wanted
        gained = psnr(picture, truth).mean() - floor
        return f"{float(gained):+.3f} | {float(share):.2f} | {float(distance):.4f}"

    low, high = 0.1, 8.0
    for _ in range(9):
        middle = (low * high) ** 0.5
        paler = float(colorfulness(made(middle)).mean() / wanted) < WANTED
        low, high = (middle, high) if paler else (low, middle)
    print(f"| {name} | {figures(1.0)} | {middle:.2f} | {figures(middle)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="an ImageNet classifier's ResNet-50 v2 trunk")
    parser.add_argument("data", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--lpips-weights", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--teacher", default="fast", help="shipped model to learn from")
    parser.add_argument("--only", default="", help="objectives whose name holds this")
    options = parser.parse_args()

    encoder = ResNetEncoder().eval()
    encoder.load_imagenet(read_tensors(options.weights))
    data = cached(encoder, options.data, options.pictures)
    val = cached(encoder, options.validation, 100_000)
    channels = data[1].shape[1], data[2].shape[1]
    lpips = load_lpips(options.lpips_weights)
    assert lpips is not None  # a file was given
    bins = ab_bins()
    print(f"{len(data[0])} pictures, {options.epochs} epochs; {len(val[0])} to measure on")
    print("| objective | over gray, dB | color | LPIPS | gain | over gray, dB | color | LPIPS |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")

    def mean(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return torch.einsum("bnhw,nc->bchw", (logits / temperature).softmax(dim=1), bins)

    def unsure(logits: Tensor) -> Tensor:
        """Entropy of each place's distribution, from 0 to 1."""
        shares = logits.softmax(dim=1)
        nats = -(shares * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
        return nats / torch.tensor(float(len(bins))).log()

    def confident(logits: Tensor) -> Tensor:
        """A sharper mean where the distribution is certain."""
        return mean(logits, 0.38 + 0.62 * unsure(logits))

    def small(lab: Tensor) -> Tensor:
        return F.interpolate(lab[:, 1:], scale_factor=1 / 8, mode="area")

    def huber(raw: Tensor, lab: Tensor) -> Tensor:
        return F.huber_loss(10 * raw, small(lab), delta=10.0) / 10

    def mse(raw: Tensor, lab: Tensor) -> Tensor:
        return F.mse_loss(10 * raw, small(lab)) / 100

    def cross_entropy(raw: Tensor, lab: Tensor, weights: Tensor | None = None) -> Tensor:
        target = soft_encode(small(lab))
        nats = -(target * raw.log_softmax(dim=1)).sum(dim=1)
        return nats.mean() if weights is None else (weights[target.argmax(dim=1)] * nats).mean()

    def mixture(raw: Tensor, lab: Tensor) -> Tensor:
        return cross_entropy(raw, lab) + F.huber_loss(mean(raw), small(lab), delta=10.0) / 10

    counts = torch.zeros(len(bins))
    for lab in torch.split(data[0][:512].float(), 32):
        counts += soft_encode(small(lab), neighbors=1).sum(dim=(0, 2, 3))
    share = smoothed(counts / counts.sum(), bins)
    rare = 1 / (0.5 * share + 0.5 / len(share))
    rare = rare / (rare * share).sum()

    def rebalanced(raw: Tensor, lab: Tensor) -> Tensor:
        return cross_entropy(raw, lab, rare)

    def perceptual(lpips: float, color: float) -> Callable[[Tensor, Tensor], Tensor]:
        objective = AbPerceptual(
            nn.Linear(1, 1), lpips=lpips, color=color, lpips_weights=str(options.lpips_weights)
        )
        return lambda raw, lab: objective.loss(10 * raw, Batch(lab, "lab"))

    teacher, entry = load_model(options.teacher)

    def distilled(share: float) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(raw: Tensor, lab: Tensor) -> Tensor:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                lightness = F.interpolate(lab[:, :1], size=TEACHER_SIDE, mode="bilinear")
                said = entry.chroma_gain * teacher(lightness).float()
            said = F.interpolate(said, size=raw.shape[-2:], mode="area").clone()
            from_teacher = F.huber_loss(10 * raw, said, delta=10.0) / 10
            return (1 - share) * huber(raw, lab) + share * from_teacher

        return loss

    def ten(raw: Tensor) -> Tensor:
        return 10 * raw

    regressions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "MSE": mse,
        "Huber": huber,
        "Huber + 10 LPIPS": perceptual(10.0, 0.0),
        "Huber + 0.5 paleness": perceptual(0.0, 0.5),
        "Huber + 10 LPIPS + 0.5 paleness": perceptual(10.0, 0.5),
        "Huber + 30 LPIPS + 0.5 paleness": perceptual(30.0, 0.5),
        "Huber + 0.1 adversarial": Adversarial(0.1),
        "Huber + 0.3 adversarial": Adversarial(0.3),
        f"half Huber, half the Huber to {options.teacher}": distilled(0.5),
        f"the Huber to {options.teacher} alone": distilled(1.0),
    }
    classifications: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "313 bins": cross_entropy,
        "313 bins, rebalanced": rebalanced,
        "313 bins + Huber of the mean": mixture,
    }
    decoders = {
        "mean": mean,
        "annealed mean, 0.38": lambda raw: mean(raw, 0.38),
        "mean, sharper where sure": confident,
    }
    for name, loss in regressions.items():
        if options.only not in name:
            continue
        torch.manual_seed(0)
        head = Head(*channels, 2)
        train(head, loss, data, options.epochs)
        measure(name, head, ten, val, lpips)
    for name, loss in classifications.items():
        if options.only not in name:
            continue
        torch.manual_seed(0)
        head = Head(*channels, len(bins))
        train(head, loss, data, options.epochs)
        for kind, decode in decoders.items():
            measure(f"{name}: {kind}", head, decode, val, lpips)


if __name__ == "__main__":
    main()
