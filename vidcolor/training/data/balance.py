"""Balance a training set: shares of the crops by the folder of a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import TrainingError
from ...evaluation import folder_of
from .loaders import Order, derive_seed


def counts_of(shares: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `sum(sizes)` places among folders.

    A folder in `shares` gets its share of the places; the others divide the rest in proportion to
    their sizes. Rounded by largest remainder, so that the counts sum up.

    Raises:
        TrainingError: a folder of `shares` has no pictures, or no folder is left for the rest.
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

    In each block of `len(names)` places every folder has the same number of places, shuffled. Its
    pictures fill them in permutations of the folder: none repeats before all others came.

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
        """The number of the folder's permutation and the picture at a place of the endless order;
        the pair is unique."""
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
        """For each place of a block: the number of its folder, and its rank within the folder."""
        groups = np.repeat(np.arange(len(self._counts)), self._counts)
        np.random.default_rng(derive_seed(self.seed, number)).shuffle(groups)
        turns = np.empty_like(groups)
        for group, count in enumerate(self._counts):
            turns[groups == group] = np.arange(count)
        return groups, turns
