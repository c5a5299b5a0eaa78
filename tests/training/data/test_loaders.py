"""The order of batches and what they hold: fixed by seed, epoch and step alone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import TrainingError
from vidcolor.evaluation.picture_sets import square
from vidcolor.system.signals import ENDING
from vidcolor.training.data.augment import Augment
from vidcolor.training.data.batch import Batch
from vidcolor.training.data.dataset import Part
from vidcolor.training.data.loaders import (
    CropLoader,
    DeviceLoader,
    Order,
    derive_seed,
    shrinker,
    store_bytes,
    stretch,
)

Loader = DeviceLoader | CropLoader
MakeLoader = Callable[..., Loader]
ALL = Augment(flip=True, rotate=15, min_scale=0.5)


def _part(count: int, *shapes: tuple[int, int]) -> Part:
    random = np.random.default_rng(0)
    pictures = [
        random.integers(0, 256, (*shapes[i % len(shapes)], 3), dtype=np.uint8) for i in range(count)
    ]
    return Part([f"{i}.png" for i in range(count)], pictures)


def _device(
    space: str = "lab", augment: Augment = ALL, count: int = 7, **changes: Any
) -> DeviceLoader:
    settings: dict[str, Any] = {"size": 8, "batch_size": 3, "seed": 5, **changes}
    return DeviceLoader(
        _part(count, (8, 8)), space=space, fit="cover", augment=augment, device="cpu", **settings
    )


def _worker(augment: Augment | None = None, count: int = 7, **changes: Any) -> CropLoader:
    settings: dict[str, Any] = {"size": 16, "batch_size": 3, "seed": 5, "workers": 0, **changes}
    augment = augment or Augment(flip=True, min_scale=0.5, old_film_share=0.5)
    return CropLoader(_part(count, (20, 30), (24, 18)), augment=augment, **settings)


@pytest.fixture(params=[_device, _worker], ids=["device", "worker"])
def make(request: pytest.FixtureRequest) -> MakeLoader:
    made: MakeLoader = request.param
    return made


def _seen(batch: Batch) -> torch.Tensor:
    return torch.cat([batch.picture, batch.lightness], dim=1)


# ------------------------------------------------------------------ the order


@pytest.mark.parametrize("epoch_size", [0, 3, 5, 17])
def test_each_permutation_holds_each_picture_once(epoch_size: int) -> None:
    order = Order(7, epoch_size, 3, seed=5)
    keys = [key for epoch in range(20) for step in order.steps(epoch, 0, 0, 1) for key in step.keys]
    assert len(keys) == 20 * (epoch_size or 7)
    seen = []
    for number in range(len(keys) // 7):
        part = keys[number * 7 : number * 7 + 7]
        assert {permutation for permutation, _ in part} == {number}
        seen.append(tuple(index for _, index in part))
        assert sorted(seen[-1]) == list(range(7))
    assert len(set(seen)) > 1


def test_the_last_batch_may_be_short_and_a_batch_larger_than_the_set() -> None:
    assert [len(step.keys) for step in Order(7, 0, 3, 0).steps(2, 0, 0, 1)] == [3, 3, 1]
    (step,) = Order(2, 5, 8, 0).steps(0, 0, 0, 1)
    assert [number for number, _ in step.keys] == [0, 0, 1, 1, 2]


def test_the_seed_decides() -> None:
    first, same, other = (list(Order(50, 0, 50, seed).steps(0, 0, 0, 1)) for seed in (1, 1, 2))
    assert first == same != other
    assert derive_seed(0, 1) != derive_seed(1, 0)
    assert 0 <= derive_seed(-(2**63), 2**70) < 2**32


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_a_batch_and_their_weights_give_its_mean(world: int) -> None:
    order = Order(7, 0, 3, seed=1)
    losses = torch.rand(7, generator=torch.Generator().manual_seed(0))
    ranks = [list(order.steps(4, 0, rank, world)) for rank in range(world)]
    for step, whole in enumerate(order.steps(4, 0, 0, 1)):
        assert whole.weight == 1.0
        average = 0.0
        for rank in range(world):
            mine = ranks[rank][step]
            if rank < len(whole.keys):
                assert mine.keys == whole.keys[rank::world]
            else:
                assert (mine.keys, mine.weight) == (whole.keys[:1], 0.0)
            average += mine.weight * float(losses[[i for _, i in mine.keys]].mean()) / world
        assert average == pytest.approx(float(losses[[i for _, i in whole.keys]].mean()))


# ------------------------------------------------------------------ both feeds


def test_an_epoch_resumes_at_any_step(make: MakeLoader) -> None:
    whole = [_seen(batch) for batch, _ in make().batches(2)]
    assert [len(batch) for batch in whole] == [3, 3, 1]
    for start in range(4):
        rest = [_seen(batch) for batch, _ in make().batches(2, start)]
        assert len(rest) == 3 - start
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))


def test_epochs_and_seeds_differ_and_sizes_are_told(make: MakeLoader) -> None:
    loader = make(epoch_size=4)
    assert (loader.pictures, loader.epoch_size, make().epoch_size) == (7, 4, 7)
    first, second = ([_seen(b) for b, _ in loader.batches(epoch)] for epoch in (0, 1))
    assert [len(batch) for batch in first] == [3, 1]
    assert not torch.equal(first[0], second[0])
    ((other, _), *_) = make(seed=6).batches(0)
    assert not torch.equal(_seen(other), first[0])


def test_the_rows_of_two_ranks_are_the_whole_batch(make: MakeLoader) -> None:
    ranks = [list(make().batches(1, rank=rank, world=2)) for rank in range(2)]
    for step, (batch, weight) in enumerate(make().batches(1)):
        assert weight == 1.0
        (even, even_weight), (odd, odd_weight) = ranks[0][step], ranks[1][step]
        assert torch.equal(_seen(even), _seen(batch)[0::2])
        if len(batch) > 1:
            assert torch.equal(_seen(odd), _seen(batch)[1::2])
            assert (even_weight, odd_weight) == pytest.approx((4 / 3, 2 / 3))
        else:  # none is left for the second rank, which still takes part
            assert torch.equal(_seen(odd), _seen(batch))
            assert (even_weight, odd_weight) == (2.0, 0.0)


def test_nobody_elses_dice_are_thrown(make: MakeLoader) -> None:
    state = torch.random.get_rng_state()
    for _ in make().batches(0):
        pass
    assert torch.equal(torch.random.get_rng_state(), state)


# ------------------------------------------------------------------ the device's


def test_plain_pictures_come_as_they_are() -> None:
    part = _part(5, (8, 8))
    truth = torch.from_numpy(np.stack(part.pictures)).permute(0, 3, 1, 2)
    loader = _device("rgb", Augment(), 5)
    assert torch.equal(loader.store, truth)
    assert (loader.store.dtype, loader.nbytes) == (torch.uint8, store_bytes(5, 8, "rgb"))
    batches = list(loader.in_order(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert {batch.space for batch in batches} == {"rgb"}
    assert torch.equal(torch.cat([batch.rgb for batch in batches]), truth.float() / 255)
    first = next(iter(Order(5, 0, 3, 5).steps(0, 0, 0, 1)))
    (batch, _) = next(loader.batches(0))
    assert torch.equal(batch.picture, truth[[i for _, i in first.keys]].float() / 255)


def test_the_lab_cache_is_close_to_exact() -> None:
    loader = _device("lab", Augment(), 40)
    truth = torch.from_numpy(np.stack(_part(40, (8, 8)).pictures)).permute(0, 3, 1, 2)
    exact = rgb_to_lab(truth.double() / 255)
    (batch,) = loader.in_order(40)
    assert (batch.space, batch.picture.dtype) == ("lab", torch.float32)
    assert float((batch.lab - exact).abs().max()) < 0.04
    assert loader.nbytes == store_bytes(40, 8, "lab") == 2 * store_bytes(40, 8, "rgb")


def test_pictures_of_mixed_sizes_are_fitted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcolor.training.data.loaders._CHUNK_PIXELS", 700)  # two or three at once
    part = _part(11, (8, 8), (8, 8), (12, 20), (6, 5), (6, 5), (6, 5))
    for fit in ("stretch", "cover"):
        loader = DeviceLoader(
            part, space="rgb", size=8, fit=fit, batch_size=4, augment=ALL, seed=0, device="cpu"
        )
        for kept, picture in zip(loader.store, part.pictures, strict=True):
            rgb = torch.from_numpy(picture).permute(2, 0, 1)
            wanted = square(rgb, 8) if fit == "cover" else stretch(rgb[None], 8)[0]
            assert torch.equal(kept, rgb if picture.shape == (8, 8, 3) else wanted)


def test_stretch_takes_the_whole_picture_and_antialiases() -> None:
    stripes = torch.zeros(1, 3, 8, 16, dtype=torch.uint8)
    stripes[..., ::2] = 200
    assert int((stretch(stripes, 8).int() - 100).abs()[..., 1:-1].max()) <= 1
    ramp = torch.tensor([0, 100], dtype=torch.uint8).expand(1, 3, 2, 2)
    assert stretch(ramp, 4)[0, 0, 0].tolist() == [0, 25, 75, 100]  # bilinear by hand


@pytest.mark.parametrize("fit", ["stretch", "cover"])
@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_shrunk_pictures_give_the_same_store(fit: str, space: str) -> None:
    part = _part(13, (8, 8), (40, 31), (40, 31), (9, 70), (5, 6), (3, 21), (3, 22))
    small = Part(part.names, [shrinker(fit, 8)(picture) for picture in part.pictures])
    for kept, picture in zip(small.pictures, part.pictures, strict=True):
        assert kept.nbytes <= 3 * 8 * 8
        assert kept is picture or not np.shares_memory(kept, picture)  # which would hold all of it
    stores = [
        DeviceLoader(
            pictures, space=space, size=8, fit=fit, batch_size=4, augment=ALL, seed=0, device="cpu"
        ).store
        for pictures in (part, small)
    ]
    assert torch.equal(*stores)


def test_crops_are_cut_out_of_pictures_of_twice_their_size() -> None:
    random = np.random.default_rng(0)
    smooth = np.linspace(0, 255, 60)[:, None, None] * np.ones((60, 100, 3))
    shrink = shrinker("crop", 8)
    made = shrink(smooth.astype(np.uint8))
    assert made.shape == (16, 27, 3) and made.dtype == np.uint8 and made.flags.c_contiguous
    middles = (np.arange(16) + 0.5) * 60 / 16 - 0.5
    assert np.abs(made[1:-1, 5, 0] - 255 * middles[1:-1] / 59).max() <= 2
    for shape in ((16, 90, 3), (90, 16, 3), (5, 5, 3)):  # nothing is enlarged
        picture = random.integers(0, 256, shape, dtype=np.uint8)
        assert shrink(picture) is picture
    assert shrinker("crop", 8, least=20)(smooth.astype(np.uint8)).shape == (20, 33, 3)


def test_a_store_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = store_bytes(7, 8, "lab", 3)
    free = [needed, needed - 1]
    monkeypatch.setattr("vidcolor.training.data.loaders.free_memory", lambda device: free.pop(0))
    _device(repeat_augmented=3)
    with pytest.raises(TrainingError) as caught:
        _device(repeat_augmented=3)
    assert str(caught.value) == (
        "21 pictures of 8x8 pixels need 0.0 GB of main memory, and 0.0 GB are free; take fewer "
        '(--limit), a smaller size, or fit = "crop"'
    )


def test_steps_augment_the_stored_pictures() -> None:
    loader, plain = _device(batch_size=7), _device(augment=Augment(), batch_size=7)
    ((made, _),), ((kept, _),) = loader.batches(0), plain.batches(0)
    assert not torch.equal(made.picture, kept.picture)
    ((mirrored, _),) = _device(augment=Augment(flip=True), batch_size=7).batches(0)
    for new, old in zip(mirrored.picture, kept.picture, strict=True):
        assert torch.equal(new, old) or torch.equal(new, old.flip(-1))


def test_each_epoch_augments_anew() -> None:
    loader = _device(count=1, batch_size=1)
    pictures = [next(loader.batches(epoch))[0].picture for epoch in range(3)]
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[1], pictures[2])


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_an_enlarged_set_is_augmented_once(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, loader = _device(space, Augment()), _device(space, repeat_augmented=3)
    assert (loader.pictures, loader.epoch_size, len(loader.store)) == (21, 21, 21)
    assert torch.equal(loader.store[:7], plain.store)
    assert not torch.equal(loader.store[7:14], loader.store[14:])
    batches = torch.cat([batch.picture for batch, _ in loader.batches(3)])
    stored = loader.store.float() / (255 if space == "rgb" else 1)
    assert {tuple(p.flatten().tolist()) for p in batches} == {
        tuple(p.flatten().tolist()) for p in stored
    }
    assert sum(len(batch) for batch in loader.in_order(4)) == 7  # the plain ones
    monkeypatch.setattr("vidcolor.training.data.loaders._CHUNK_PIXELS", 64)
    again = _device(space, repeat_augmented=3)
    assert torch.equal(again.store, loader.store)  # whatever is converted at once


def test_an_empty_part_has_no_batches() -> None:
    loader = _device(count=0)
    assert not [*loader.in_order(4), *loader.batches(0)]


# ------------------------------------------------------------------ the workers'


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_workers_change_nothing() -> None:
    alone = [_seen(batch) for batch, _ in _worker().batches(1)]
    helped = [_seen(batch) for batch, _ in _worker(workers=2).batches(1)]
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_crops_have_lab_ranges_and_an_l_of_their_own() -> None:
    for batch, _ in _worker(epoch_size=30).batches(0):
        assert batch.space == "lab"
        assert batch.picture.shape[1:] == (3, 16, 16)
        assert batch.lightness.shape[1:] == (1, 16, 16)
        for lightness in (batch.lightness, batch.lab[:, :1]):
            assert -0.001 <= float(lightness.min()) <= float(lightness.max()) <= 100.001
        assert float(batch.ab.abs().max()) < 128


def test_a_picture_is_cropped_anew_in_each_permutation() -> None:
    loader = _worker(count=1, batch_size=4, epoch_size=4)
    ((batch, _),) = loader.batches(0)
    assert len({tuple(picture.flatten().tolist()) for picture in batch.picture}) == 4


def test_undegraded_lightness_is_the_lab_or_the_luma_of_the_crop() -> None:
    part = Part(["red"], [np.full((16, 16, 3), (200, 40, 40), dtype=np.uint8)])
    loader = CropLoader(
        part, size=16, batch_size=16, augment=Augment(), seed=0, workers=0, epoch_size=16
    )
    ((batch, _),) = loader.batches(0)
    found = {round(float(lightness.mean()), 1) for lightness in batch.lightness}
    lab = rgb_to_lab(torch.tensor([200, 40, 40]).float()[:, None, None] / 255)
    luma = (0.2989 * 200 + 0.587 * 40 + 0.114 * 40) / 255
    gray = rgb_to_lab(torch.full((3, 1, 1), luma))
    assert found == {round(float(lab[0]), 1), round(float(gray[0]), 1)}


def test_what_a_feed_cannot_do_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"^old_film_share: [^\n]+ fit to 'crop'$"):
        _device(augment=Augment(old_film_share=0.1))
    with pytest.raises(TrainingError, match=r"^rotate: [^\n]+$"):
        _worker(augment=Augment(rotate=5))


@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="no signals to processes")
def test_workers_leave_signals_to_the_training() -> None:
    batches = _worker(workers=1, count=600).batches(0)
    seen = [next(batches)]
    workers = multiprocessing.active_children()
    assert workers
    for worker in workers:
        for number in ENDING:
            assert worker.pid is not None
            os.kill(worker.pid, number)
    seen += batches
    assert sum(len(batch) for batch, _ in seen) == 600
    assert multiprocessing.active_children() == []
