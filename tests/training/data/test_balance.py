"""Shares of the crops by folder: exact counts, every picture in turn, resumable anywhere."""

from __future__ import annotations

from collections import Counter

import pytest

from vidcolor.errors import TrainingError
from vidcolor.training.data.balance import BalancedOrder, counts_of

NAMES = [
    *(f"a.zip:faces/{i}.webp" for i in range(3)),
    *(f"a.zip:rooms/{i}.webp" for i in range(40)),
    *(f"b.zip:seas/{i}.webp" for i in range(57)),
]


def order(shares: dict[str, float], epoch_size: int = 0, seed: int = 5) -> BalancedOrder:
    return BalancedOrder(NAMES, shares, epoch_size, batch_size=8, seed=seed)


def folder(index: int) -> str:
    return NAMES[index].split("/")[0].partition(":")[2]


def test_counts_follow_the_shares_and_sum_up() -> None:
    sizes = {"faces": 3, "rooms": 40, "seas": 57}
    assert counts_of({"faces": 0.35}, sizes) == {"faces": 35, "rooms": 27, "seas": 38}
    assert counts_of({}, sizes) == sizes
    every = {"faces": 0.2, "rooms": 0.3, "seas": 0.5}
    assert counts_of(every, sizes) == {"faces": 20, "rooms": 30, "seas": 50}
    assert sum(counts_of({"faces": 1 / 3}, {"faces": 5, "seas": 6}).values()) == 11


def test_each_block_has_the_shares_and_no_picture_comes_too_early() -> None:
    keys = [order({"faces": 0.35}).key(position) for position in range(1000)]
    for begin in range(0, 1000, 100):
        counted = Counter(folder(index) for _, index in keys[begin : begin + 100])
        assert counted == {"faces": 35, "rooms": 27, "seas": 38}
    assert len(set(keys)) == 1000  # a crop's dice are its key's
    seen = Counter(index for _, index in keys)
    for kind in ("faces", "rooms", "seas"):
        often = [seen[i] for i in range(100) if folder(i) == kind]
        assert max(often) - min(often) <= 1
    assert keys[:100] != keys[100:200]


def test_any_position_can_be_asked_for_first() -> None:
    whole = [order({"rooms": 0.5}).key(position) for position in range(350)]
    backwards = order({"rooms": 0.5})
    assert [backwards.key(position) for position in reversed(range(350))] == whole[::-1]
    assert [order({"rooms": 0.5}, seed=6).key(p) for p in range(350)] != whole


def test_epochs_and_batches_are_those_of_any_order() -> None:
    steps = list(order({"faces": 0.35}, epoch_size=20).steps(3, 1, 0, 1))
    assert [len(step.keys) for step in steps] == [8, 4]
    assert steps[0].keys == [order({"faces": 0.35}).key(position) for position in range(68, 76)]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (
            {"dogs": 0.1},
            "no training picture lies in a folder 'dogs'; there are faces, rooms",
        ),
        ({"faces": 0.2, "rooms": 0.2, "seas": 0.2}, "the shares sum to 0.6; they must sum to 1"),
    ],
)
def test_shares_that_cannot_be_had_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(TrainingError, match=r"^recipe key 'shares': ") as caught:
        order(shares)
    assert message in str(caught.value)
