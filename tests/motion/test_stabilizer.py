"""The chroma filter: consistent in a shot, reset at a cut, no trails, independent of batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.shots import HEIGHT, WIDTH, pan
from tests.motion.test_flow import texture
from vidcolor.motion.flow import Array
from vidcolor.motion.stabilizer import MEMORY, Motion, Stabilizer

SMALL = (HEIGHT // 4, WIDTH // 4)  # of the chroma, as `fast` gives it


def lightness_of(frames: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(frames))[:, None].float() / 2.55


def flicker(count: int, ab: tuple[float, float], seed: int = 0) -> Tensor:
    """`(count, 2, h, w)` of one color that jumps by about 6 from frame to frame."""
    jumps = torch.randn(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) * 6
    return torch.tensor(ab)[:, None, None] + jumps.expand(count, 2, *SMALL).contiguous()


def stabilized(
    stabilizer: Stabilizer, lightness: Tensor, ab: Tensor, cuts: Sequence[bool] = ()
) -> Tensor:
    """Filter a batch whose predicted chroma is `ab`."""
    return filtered(stabilizer, stabilizer.track(lightness, cuts), ab)


def filtered(stabilizer: Stabilizer, motions: Sequence[Motion], ab: Tensor) -> Tensor:
    inferred = [i for i, motion in enumerate(motions) if motion.needs_inference]
    return stabilizer.stabilize(motions, ab[inferred] if inferred else None)


def through(
    stabilizer: Stabilizer, lightness: Tensor, ab: Tensor, cuts: Sequence[bool] = (), size: int = 4
) -> Tensor:
    """Filter all frames in batches of `size`."""
    out = []
    for i in range(0, len(ab), size):
        part = slice(i, i + size)
        out.append(stabilized(stabilizer, lightness[part], ab[part], cuts[part]))
    return torch.cat(out)


def run(
    lightness: Tensor, ab: Tensor, cuts: Sequence[bool] = (), size: int = 4, memory: int = MEMORY
) -> Tensor:
    """Filter all frames; the network sees every one except repeats."""
    return through(Stabilizer(memory, carried=0), lightness, ab, cuts, size)


def change(ab: Tensor) -> float:
    """Mean squared step from frame to frame."""
    return float((ab[1:] - ab[:-1]).square().sum(1).mean())


@pytest.mark.parametrize("step", [0, 1, 3])
def test_flicker_is_calmed(step: int) -> None:
    lightness = lightness_of(pan(40, 1, step))
    lightness = lightness + torch.randn_like(lightness)  # grain, so that no frame repeats another
    ab = flicker(40, (20, -30))
    out = run(lightness, ab)
    assert change(out) < 0.05 * change(ab)
    assert (out[20:].mean((0, 2, 3)) - torch.tensor([20, -30])).abs().max() < 3
    assert torch.equal(out[0], ab[0])


def test_color_moves_with_the_picture() -> None:
    frames, step = pan(24, 1, 4), 4
    wide = torch.from_numpy(np.kron(np.arange(96 // 8 + 24) % 5 * 12, np.ones(2)))  # stripes
    at = [wide[i : i + SMALL[1]].expand(*SMALL) for i in range(24)]  # 4 pixels are one of chroma
    truth = torch.stack([torch.stack([a, -a]) for a in at]).float()
    jumps = flicker(24, (0, 0))
    assert step == 4
    error = (run(lightness_of(frames), truth + jumps) - truth)[12:, :, 3:-3, 3:-6]
    assert error.square().sum(1).mean() < 0.3 * jumps[12:].square().sum(1).mean()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_batches_change_nothing(size: int) -> None:
    lightness, ab = lightness_of(pan(12, 1) + pan(9, 2)), flicker(21, (10, 10))
    cuts = [i in (0, 12) for i in range(21)]
    assert torch.equal(run(lightness, ab, cuts, size), run(lightness, ab, cuts, 4))
    assert torch.equal(run(lightness, ab, cuts, size), run(lightness, ab, cuts, size))


def test_nothing_of_a_shot_goes_over_a_cut() -> None:
    same = lightness_of(pan(20, 1, 0) + pan(20, 1, 0))  # the pictures alone do not show the cut
    same = same + torch.randn_like(same)
    red = torch.tensor([40.0, 0])[:, None, None].expand(20, 2, *SMALL)
    cuts = [i in (0, 20) for i in range(40)]
    out = run(same, torch.cat([red, -red]), cuts)
    assert (out[20:] + red).abs().max() < 0.1
    stays = run(same, torch.cat([red, -red]))  # and without the mark the filter would mix them
    assert stays[20, 0].mean() > 20


def test_a_missed_cut_leaves_little() -> None:
    lightness = lightness_of(pan(20, 1) + pan(20, 2))
    red = torch.tensor([40.0, 0])[:, None, None].expand(20, 2, *SMALL)
    out = run(lightness, torch.cat([red, -red]))
    assert (out[21, 0] < -10).float().mean() > 0.9


@pytest.mark.parametrize("side", [48, 80])
def test_small_frames_are_the_same_in_any_batch(side: int) -> None:
    lightness = lightness_of(
        [texture(side + 40, side + 40, 0)[i : i + side, i : i + side] for i in range(16)]
    )
    ab = torch.randn(16, 2, side // 4, side // 4, generator=torch.Generator().manual_seed(0)) * 9
    wanted = run(lightness, ab, size=1)
    for size in (5, 16, 16):
        assert torch.equal(run(lightness, ab, size=size), wanted)


def test_a_film_goes_on_from_its_own_frames_alone() -> None:
    lightness, ab = lightness_of(pan(8, 1)), flicker(8, (30, 0))
    stabilizer = Stabilizer(carried=0)
    first = stabilized(stabilizer, lightness, ab)
    assert not torch.equal(stabilized(stabilizer, lightness, ab), first)
    assert torch.equal(stabilized(Stabilizer(carried=0), lightness, ab), first)


def test_frames_are_tracked_ahead_and_in_other_batches() -> None:
    lightness, ab = calm(12), flicker(12, (30, 0))
    wanted = through(Stabilizer(), lightness, ab, size=4)
    stabilizer = Stabilizer()
    motions = [*stabilizer.track(lightness[:5]), *stabilizer.track(lightness[5:])]
    assert not all(motion.needs_inference for motion in motions)
    out = [
        filtered(stabilizer, motions[first:last], ab[first:last])
        for first, last in ((0, 3), (3, 4), (4, 9), (9, 12))
    ]
    assert torch.equal(torch.cat(out), wanted)


def test_frames_that_failed_can_be_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when memory runs out at the last step, and then in smaller parts."""
    lightness, ab = lightness_of(pan(8, 1)), flicker(8, (30, 0))
    wanted = run(lightness, ab)
    stabilizer = Stabilizer(carried=0)
    motions = stabilizer.track(lightness)
    assert torch.equal(filtered(stabilizer, motions[:2], ab[:2]), wanted[:2])
    plain, calls = np.stack, []

    def stack(arrays: Sequence[Array]) -> Array:
        calls.append(1)
        if len(calls) > 1:  # the last step
            raise MemoryError
        return plain(arrays)

    with monkeypatch.context() as patched:
        patched.setattr(np, "stack", stack)
        with pytest.raises(MemoryError):
            filtered(stabilizer, motions[2:6], ab[2:6])
    parts = [filtered(stabilizer, motions[i:][:3], ab[i:][:3]) for i in (2, 5)]
    assert torch.equal(torch.cat(parts), wanted[2:])


def moving_square(
    speed: int, height: int = HEIGHT, width: int = WIDTH
) -> tuple[list[Array], Tensor]:
    """A bright red square that moves over a blue background, and their chroma."""
    ground, square = texture(height, width, 3) // 2, texture(32, 32, 4) // 2 + 120
    frames, truth = [], []
    for i in range(24):
        x, frame = 4 + speed * i, ground.copy()
        frame[32:64, x : x + 32] = square
        red = torch.zeros(height, width)
        red[32:64, x : x + 32] = 1
        ab = torch.stack([50 * red, 30 - 60 * (1 - red)])
        truth.append(torch.nn.functional.avg_pool2d(ab, 4))
        frames.append(frame)
    return frames, torch.stack(truth)


@pytest.mark.parametrize("speed", [1, 2, 4])
def test_a_moving_thing_keeps_its_color_and_leaves_no_trail(speed: int) -> None:
    frames, truth = moving_square(speed)
    error = (run(lightness_of(frames), truth) - truth).square().sum(1).sqrt()[6:]
    assert error.mean() < 0.6
    assert error.quantile(0.99) < 12  # red and blue are 78 apart
    late = run(lightness_of(frames), truth)[-1]
    assert late[0, 9:15, : speed * 2].max() < 5  # where it stood long ago
    assert late[0, 9:15, 2 + speed * 23 // 4 : 7 + speed * 23 // 4].min() > 40  # its inside


def test_repeated_frames_count_once() -> None:
    lightness, ab = lightness_of(pan(6, 1)), flicker(6, (10, 0))
    once = run(lightness, ab)
    twice = run(lightness.repeat_interleave(2, 0), ab.repeat_interleave(2, 0))
    assert torch.equal(twice[::2], once) and torch.equal(twice[1::2], once)


def test_a_small_move_is_no_repeat() -> None:
    still = np.full((HEIGHT, WIDTH), 90, np.uint8)
    moved = still.copy()
    moved[40:52, 40:52] = 160
    out = run(lightness_of([still, moved]), flicker(2, (10, 0)))
    assert not torch.equal(out[1], out[0])


def test_color_fades_with_the_light() -> None:
    frames = pan(30, 1, 0)
    light = [1 - i / 40 for i in range(30)]
    lightness = lightness_of(
        [(frame * gain).astype(np.uint8) for frame, gain in zip(frames, light, strict=True)]
    )
    # of one color the chroma goes with L* + 16 where the light goes down
    ab = torch.tensor([30.0, 20])[:, None, None] * (
        (lightness.mean((1, 2, 3), keepdim=True) + 16) / (lightness[0].mean() + 16)
    )
    out = run(lightness, ab.expand(30, 2, *SMALL))
    assert ((out - ab).abs() / ab).max() < 0.05


def test_flickering_light_does_not_stop_the_filter() -> None:
    gains = np.random.default_rng(0).uniform(0.75, 1.0, 30)
    frames = [(f * g).astype(np.uint8) for f, g in zip(pan(30, 1, 1), gains, strict=True)]
    ab = flicker(30, (20, -30))
    # the light alone changes chroma by a tenth
    assert change(run(lightness_of(frames), ab)) < 0.35 * change(ab)


@pytest.mark.parametrize("shape", [(8, 256), (32, 32), (64, 8)])
def test_narrow_and_small_frames(shape: tuple[int, int]) -> None:
    lightness = torch.rand(3, 1, *shape) * 100
    ab = torch.rand(3, 2, max(1, shape[0] // 4), max(1, shape[1] // 4))
    out = run(lightness, ab)
    assert out.shape == ab.shape and out.isfinite().all()


def test_a_memory_of_one_frame_changes_nothing() -> None:
    lightness, ab = lightness_of(pan(6, 1)), flicker(6, (10, 0))
    torch.testing.assert_close(run(lightness, ab, memory=1), ab)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="memory"):
        Stabilizer(0)
    with pytest.raises(ValueError, match="carried"):
        Stabilizer(carried=-1)
    with pytest.raises(ValueError, match="2 marks of cuts for 3 frames"):
        Stabilizer().track(lightness_of(pan(3, 1)), (True, False))
    motions = Stabilizer(carried=0).track(lightness_of(pan(3, 1)))
    for given in (None, flicker(2, (0, 0)), flicker(4, (0, 0))):
        with pytest.raises(ValueError, match="3"):
            Stabilizer(carried=0).stabilize(motions, given)


class Recording(Stabilizer):
    """Records the numbers of the frames that the network has to see."""

    def __init__(self) -> None:
        super().__init__()
        self.inferred: list[int] = []
        self._count = 0

    def track(self, lightness: Tensor, cuts: Sequence[bool] = ()) -> list[Motion]:
        motions = super().track(lightness, cuts)
        self.inferred += [
            self._count + i for i, motion in enumerate(motions) if motion.needs_inference
        ]
        self._count += len(motions)
        return motions


def carry(lightness: Tensor, truth: Tensor, size: int = 4) -> tuple[Tensor, list[int]]:
    """Filter all frames; `truth` is predicted only for those that the network has to see."""
    stabilizer = Recording()
    return through(stabilizer, lightness, truth, size=size), stabilizer.inferred


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_estimates_flow() -> None:
    code = """
import os, sys, cv2, torch
from vidcolor.motion import stabilizer
torch.set_num_threads(1), cv2.setNumThreads(1)  # their threads do not survive a fork either
stabilizer.processors = lambda: 4
frames = torch.rand(3, 1, 64, 64) * 100
track = lambda: stabilizer.Stabilizer().track(frames)
track()
child = os.fork()
if not child:
    track()
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7


def calm(count: int) -> Tensor:
    """A shot of one picture with changing grain."""
    still = lightness_of(pan(count, 1, 0))
    return still + torch.randn(still.shape, generator=torch.Generator().manual_seed(9))


def test_the_network_sees_every_third_frame_of_a_calm_shot() -> None:
    _, inferred = carry(calm(24), flicker(24, (10, 10)))
    assert inferred == [0, 1, 2, *range(3, 24, 3)]


def test_the_network_sees_every_frame_where_much_is_new() -> None:
    frames = [frame for i in range(12) for frame in pan(1, i)]  # other pictures throughout
    _, inferred = carry(lightness_of(frames), flicker(12, (10, 10)))
    assert inferred == list(range(12))


def test_a_frame_shown_twice_is_seen_once() -> None:
    lightness = lightness_of(pan(12, 1, 4)).repeat_interleave(2, dim=0)
    _, inferred = carry(lightness, flicker(24, (10, 10)), size=5)
    assert [number // 2 for number in inferred] == list(range(12))


def disc_film(discs: Sequence[Array], moving: int = 99) -> tuple[Tensor, Tensor]:
    """A bright disc, where each frame's mask says, over a grainy ground, and the chroma of both;
    the picture freezes after frame `moving`."""
    height, width = discs[0].shape
    ground, noise = texture(height, width, 5) // 2, np.random.default_rng(6)
    frames: list[Array] = []
    truth: list[Tensor] = []
    for number, disc in enumerate(discs):
        frame = (ground + noise.normal(0, 2, ground.shape)).clip(0, 255).astype(np.uint8)
        frame[disc] = 230
        frames.append(frame if number <= moving else frames[-1])
        ab = torch.from_numpy(np.where(disc, 50.0, 5.0)).float()
        truth.append(torch.nn.functional.avg_pool2d(ab.expand(1, 2, *disc.shape), 4)[0])
    return lightness_of(frames), torch.stack(truth)


def disc_at(x: int, radius: int) -> Array:
    down, across = np.ogrid[:192, :256]
    disc: Array = (down - 90) ** 2 + (across - x) ** 2 < radius**2
    return disc


@pytest.mark.parametrize("radius", [4, 8, 14])
@pytest.mark.parametrize("at", range(4, 9))
def test_an_object_that_appears_and_stops_is_colored(at: int, radius: int) -> None:
    """A disc appears, then the picture freezes: a slide, limited animation, a still in a film."""
    disc = disc_at(120, radius)
    lightness, wanted = disc_film([disc & (number >= at) for number in range(24)], moving=at)
    found, _ = carry(lightness, wanted)
    assert (found[-1] - wanted[-1]).abs().max() < 12
    assert (found[-1, :, 22, 30] - 50).abs().max() < 3


@pytest.mark.parametrize(("radius", "speed"), [(9, 6), (6, 8)])
def test_small_fast_things_leave_nothing_behind(radius: int, speed: int) -> None:
    lightness, wanted = disc_film([disc_at(30 + speed * i, radius) for i in range(24)])
    found, _ = carry(lightness, wanted)
    worst = (found - wanted).square().sum(1).sqrt().amax(dim=(1, 2))[6:]
    assert worst.mean() < 8  # the disc and its ground are 64 apart


@pytest.mark.parametrize("size", [1, 3, 7])
def test_batches_do_not_change_what_is_seen(size: int) -> None:
    lightness, ab = calm(30), flicker(30, (10, 10))
    found, wanted = carry(lightness, ab, size), carry(lightness, ab)
    assert found[1] == wanted[1]
    assert len(wanted[1]) < 20
    assert torch.equal(found[0], wanted[0])


def test_propagated_chroma_moves_and_leaves_no_trail() -> None:
    frames, truth = moving_square(2, 288, 384)  # so large that little of it is new
    ab, inferred = carry(lightness_of(frames), truth)
    assert len(inferred) < len(frames)
    error = (ab - truth).square().sum(1).sqrt()[6:]
    assert error.mean() < 1.2
    trail = error[-4:, 8:16, 1:9].amax(dim=(1, 2))  # where the square stood at first
    assert trail.max() < 6  # red and blue are 78 apart


def test_carried_chroma_flickers_no_more() -> None:
    ab = flicker(40, (20, -30))
    found, _ = carry(calm(40), ab)
    assert change(found) < 0.05 * change(ab)
