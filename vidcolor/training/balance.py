"""Which pictures a training sees how often: shares of the crops by the folder a picture lies in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import TrainingError
from ..evaluation import folder_of
from .feed import Order, derive_seed


def counts_of(shares: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """How many of `sum(sizes)` places each folder gets.

    A folder in `shares` gets its share of the places; the others divide what is left in proportion
    to their sizes. Rounded by largest remainder, so that all places are given.

    Raises:
        TrainingError: a folder of `shares` has no pictures, or places are left and no folder.
    """
    for folder in shares:
        if not sizes.get(folder):
            known = ", ".join(sorted(filter(None, sizes)))
            raise TrainingError(
                f"recipe key 'shares': no training picture lies in a folder '{folder}'; there are "
                f"{known or 'none'}"
            )
    total = sum(sizes.values())
    rest = 1 - sum(shares.values())
    others = sum(size for folder, size in sizes.items() if folder not in shares)
    if rest > 1e-6 and not others:
        raise TrainingError(
            "recipe key 'shares': every folder is named, but the shares sum to "
            f"{1 - rest:g}; they must sum to 1"
        )
    exact = {
        folder: total * (shares[folder] if folder in shares else rest * size / max(1, others))
        for folder, size in sizes.items()
    }
    counts = {folder: math.floor(round(value, 6)) for folder, value in exact.items()}
    by_remainder = sorted(exact, key=lambda folder: (counts[folder] - exact[folder], folder))
    for folder in by_remainder[: total - sum(counts.values())]:
        counts[folder] += 1
    return counts


class BalancedOrder(Order):
    """An endless order in which each folder has its share of the places.

    Of every `len(names)` places each folder has the same number, shuffled. Its pictures fill them
    in permutations of their own: none comes again before every other one of its folder has come.

    Args:
        names: the pictures'.
        shares: of the places by folder; see `counts_of`.
        epoch_size, batch_size, seed: as in `Order`.
    """

    def __init__(
        self,
        names: Sequence[str],
        shares: Mapping[str, float],
        epoch_size: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(len(names), epoch_size, batch_size, seed)
        folders = [folder_of(name) for name in names]
        self.folders = sorted(set(folders))
        members: dict[str, list[int]] = {folder: [] for folder in self.folders}
        for index, folder in enumerate(folders):
            members[folder].append(index)
        self._members = [np.array(members[folder]) for folder in self.folders]
        counts = counts_of(shares, {folder: len(members[folder]) for folder in self.folders})
        self._counts = [counts[folder] for folder in self.folders]
        self._block: tuple[np.ndarray, np.ndarray] | None = None
        self._permutations: dict[int, tuple[int, np.ndarray]] = {}

    def key(self, position: int) -> tuple[int, int]:
        """The picture at a place of the endless order, and how often its folder has been through
        before; the two together come only once."""
        number, place = divmod(position, self.pictures)
        if number != self._number or self._block is None:
            self._number, self._block = number, self._shuffled(number)
        group, turn = (int(part[place]) for part in self._block)
        pictures = self._members[group]
        through, index = divmod(number * self._counts[group] + turn, len(pictures))
        known = self._permutations.get(group)
        if known is None or known[0] != through:
            random = np.random.default_rng(derive_seed(self.seed, through, group))
            known = self._permutations[group] = (through, random.permutation(len(pictures)))
        return through, int(pictures[known[1][index]])

    def _shuffled(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each place of a block its folder's number, and how many of that come before it."""
        groups = np.repeat(np.arange(len(self._counts)), self._counts)
        np.random.default_rng(derive_seed(self.seed, number)).shuffle(groups)
        turns = np.empty_like(groups)
        for group, count in enumerate(self._counts):
            turns[groups == group] = np.arange(count)
        return groups, turns
