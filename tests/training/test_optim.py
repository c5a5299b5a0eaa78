"""Optimizer groups, schedules and early stopping, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from vidcolor.errors import TrainingError
from vidcolor.models import ColorModel, create_model
from vidcolor.training.optim import EarlyStopping, Schedule, freeze, make_optimizer, set_training
from vidcolor.training.recipe import Recipe

NAN = math.nan


class Small(ColorModel):
    """An encoder, a norm, a dropout and a head."""

    stride = 1
    head_prefixes = ("last.",)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
        self.last = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.encoder(x))
        return made


def recipe(**keys: Any) -> Recipe:
    return Recipe(model="plain_cnn", **keys)


# -------------------------------------------------------------------------------- early stopping


@pytest.mark.parametrize(
    ("monitor", "patience", "values", "bests", "stops_after", "best_epoch"),
    [
        # the counter of S2's document: back to 0 at each better value, stop when it reaches 5
        (
            "margin_error",
            5,
            [0.4, 0.3, 0.31, 0.3, 0.29, 0.29, 0.3, 0.4, 0.5, 0.29],
            [1, 2, 5],
            10,
            5,
        ),
        ("loss", 2, [1.0, 0.5, 0.6, 0.4, 0.4, 0.4], [1, 2, 4], 6, 4),
        ("psnr", 2, [20.0, 21.0, 20.5, 22.0, 22.0, 21.9], [1, 2, 4], 6, 4),
        ("accuracy", 1, [0.1, 0.2, 0.2], [1, 2], 3, 2),
        ("loss", 0, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0], [1], None, 1),
        ("loss", 3, [NAN, 1.0, NAN, NAN, NAN], [2], 5, 2),
        ("psnr", 3, [NAN, 1.0, NAN, 2.0, NAN], [2, 4], None, 4),
        ("loss", 2, [NAN, NAN], [], 2, 0),
        ("loss", 2, [math.inf, 3.0], [2], None, 2),
        ("psnr_over_gray", 2, [math.inf, -3.0, -2.0], [2, 3], None, 3),
    ],
)
def test_early_stopping_follows_the_script(
    monitor: str,
    patience: int,
    values: list[float],
    bests: list[int],
    stops_after: int | None,
    best_epoch: int,
) -> None:
    stopping = EarlyStopping(monitor, patience)
    found = []
    for epoch, value in enumerate(values, start=1):
        assert not stopping.exhausted, epoch
        if stopping.update(epoch, value):
            found.append(epoch)
    assert found == bests
    assert stopping.exhausted == (stops_after is not None)
    assert len(values) == stops_after or stops_after is None
    assert stopping.best_epoch == best_epoch
    assert stopping.best == (values[best_epoch - 1] if best_epoch else None)


def test_early_stopping_goes_on_where_it_was() -> None:
    first = EarlyStopping("loss", 3)
    for epoch, value in enumerate((1.0, 0.5, 0.7, 0.6), start=1):
        first.update(epoch, value)
    second = EarlyStopping("loss", 3)
    second.load_state_dict(first.state_dict())
    assert second == first
    assert not second.exhausted
    assert not second.update(5, 0.5)
    assert second.exhausted


# ------------------------------------------------------------------------------------- schedules


def rates(settings: Recipe, steps: int) -> list[float]:
    model = nn.Linear(1, 1)
    optimizer = make_optimizer(model, settings)
    schedule = Schedule(settings, steps)
    found = []
    for step in range(steps):
        schedule.apply(optimizer, step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_constant() -> None:
    settings = recipe(lr=(0.1,))
    assert rates(settings, 3) == [0.1, 0.1, 0.1]
    schedule = Schedule(settings, 3)
    assert not any(schedule.end_epoch(epoch, improved=False) for epoch in range(1, 20))
    assert schedule.rate == 0.1


def test_linear_rises_holds_and_falls() -> None:
    settings = recipe(schedule="linear", lr=(1.0,), warmup=2, decay_share=0.4)
    expected = [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(settings, 10) == pytest.approx(expected)
    flat = recipe(schedule="linear", lr=(1.0,))
    assert rates(flat, 3) == [1, 1, 1]


def test_step_changes_stage_at_each_milestone() -> None:
    settings = recipe(
        schedule="step", lr=(1.0, 0.1, 0.01), weight_decay=(3.0, 2.0, 1.0), milestones=(2, 3)
    )
    schedule = Schedule(settings, 100)
    seen = [(schedule.rate, schedule.weight_decay)]
    new = []
    for epoch in range(1, 5):
        new.append(schedule.end_epoch(epoch, improved=True))
        seen.append((schedule.rate, schedule.weight_decay))
    assert seen == [(1.0, 3.0), (1.0, 3.0), (0.1, 2.0), (0.01, 1.0), (0.01, 1.0)]
    assert new == [False, True, True, False]


def test_plateau_cuts_the_rate_after_epochs_without_a_better_value() -> None:
    settings = recipe(schedule="plateau", plateau=2, lr=(1.0, 0.1, 0.01))
    schedule = Schedule(settings, 100)
    improved = [True, False, True, False, False, False, False, False, False, False]
    seen = [
        (schedule.end_epoch(epoch, better), schedule.rate)
        for epoch, better in enumerate(improved, start=1)
    ]
    assert seen == [
        (False, 1.0), (False, 1.0), (False, 1.0), (False, 1.0), (True, 0.1),
        (False, 0.1), (True, 0.01), (False, 0.01), (False, 0.01), (False, 0.01),
    ]  # fmt: skip


def test_a_schedule_goes_on_where_it_was() -> None:
    settings = recipe(schedule="plateau", plateau=2, lr=(1.0, 0.1, 0.01))
    first, second = Schedule(settings, 9), Schedule(settings, 9)
    for epoch in range(1, 4):
        first.end_epoch(epoch, improved=False)
    second.load_state_dict(first.state_dict())
    assert (second.stage, second.waited) == (1, 1)
    assert second.end_epoch(4, improved=False) and second.rate == 0.01


def test_weight_decay_and_the_encoders_rate_follow_the_stage() -> None:
    settings = recipe(
        schedule="step", lr=(1.0, 0.5), weight_decay=(0.2, 0.1), milestones=(1,), encoder_lr=0.25
    )
    model = Small()
    optimizer, schedule = make_optimizer(model, settings), Schedule(settings, 10)

    def groups() -> dict[str, tuple[float, float]]:
        names = {id(p): name for name, p in model.named_parameters()}
        return {
            names[id(p)]: (group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for p in group["params"]
        }

    schedule.apply(optimizer, 0)
    assert groups()["encoder.0.weight"] == (0.25, 0.2) and groups()["last.0.weight"] == (1.0, 0.2)
    schedule.end_epoch(1, improved=True)
    schedule.apply(optimizer, 1)
    assert groups()["encoder.0.weight"] == (0.125, 0.1) and groups()["last.0.weight"] == (0.5, 0.1)
    assert len(groups()) == len(list(model.parameters()))


def test_one_weight_decay_serves_all_stages() -> None:
    settings = recipe(schedule="step", lr=(1.0, 0.5), weight_decay=(0.2,), milestones=(1,))
    schedule = Schedule(settings, 10)
    schedule.end_epoch(1, improved=True)
    assert (schedule.rate, schedule.weight_decay) == (0.5, 0.2)


# --------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_adamw_alone_spares_biases_and_norms(name: str, kind: type) -> None:
    settings = recipe(optimizer=name, weight_decay=(0.3,), momentum=0.9)
    model = Small()
    optimizer = make_optimizer(model, settings)
    assert type(optimizer) is kind
    Schedule(settings, 1).apply(optimizer, 0)
    decays = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {4: 0.3, 1: 0.0 if name == "adamw" else 0.3}
    if name == "sgd":
        assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_a_step_of_sgd_by_hand() -> None:
    settings = recipe(optimizer="sgd", lr=(0.1,), weight_decay=(0.5,))
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = make_optimizer(model, settings)
    Schedule(settings, 1).apply(optimizer, 0)
    model(torch.tensor([[3.0]])).sum().backward()
    optimizer.step()
    # the gradient is 3, the decay adds 0.5 x 2
    assert model.weight.item() == pytest.approx(2 - 0.1 * (3 + 0.5 * 2))


# --------------------------------------------------------------------------------------- freezing


def test_freeze_leaves_the_head_of_deeplabv3() -> None:
    with torch.device("meta"):  # shapes alone: the network has 40 million parameters
        model = create_model("deeplabv3", colors=5)
    freeze(model, "backbone")
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["net.classifier.4.weight", "net.classifier.4.bias"]
    parameters = [p for g in make_optimizer(model, recipe()).param_groups for p in g["params"]]
    assert [tuple(p.shape) for p in parameters] == [(5, 256, 1, 1), (5,)]


def test_nothing_is_frozen_unless_asked_for() -> None:
    model = Small()
    freeze(model, "")
    assert all(p.requires_grad for p in model.parameters())


def test_freeze_leaves_all_but_the_encoder_of_fast() -> None:
    with torch.device("meta"):
        model = create_model("fast")
    freeze(model, "backbone")
    frozen = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"encoder"}


def test_a_model_without_a_head_is_refused() -> None:
    model = create_model("plain_cnn")
    with pytest.raises(TrainingError, match=r"^recipe key 'freeze': this model has no head"):
        freeze(model, "backbone")


def test_frozen_batch_norms_do_not_move() -> None:
    torch.manual_seed(0)
    model = Small().eval()
    freeze(model, "backbone")
    set_training(model)
    frozen, trained = model.encoder[1], model.last[1]
    assert isinstance(frozen, nn.BatchNorm2d) and isinstance(trained, nn.BatchNorm2d)
    assert model.training and trained.training
    assert not any(module.training for module in model.encoder.modules())  # the dropout too
    model(torch.rand(4, 1, 3, 3) + 5)
    assert frozen.state_dict()["running_mean"].eq(0).all() and frozen.num_batches_tracked == 0
    assert trained.state_dict()["running_mean"].ne(0).any() and trained.num_batches_tracked == 1


def test_whole_models_are_in_training_mode() -> None:
    model = Small().eval()
    set_training(model)
    assert all(module.training for module in model.modules())
