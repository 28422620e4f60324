"""What every data set yields: one picture, one question about it, and the answer.

    dataset[7]                    the same sample every time: what evaluation uses
    dataset.draw(7, rng)          one of the samples entry 7 can give: another support, a negative; what training uses

Shapes: H, W the picture's own size · h, w that of its support.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from clipseg.errors import UsageError


@dataclass(frozen=True, eq=False)
class Support:
    """An example of the thing meant: a picture (h, w, 3) uint8 RGB and where the thing is in it, (h, w) bool."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """One question about one picture, at the picture's own size.

    Fields
        picture   (H, W, 3) uint8 RGB
        mask      (H, W) bool, the answer; nothing is set where the thing asked for is not there
        phrase    the question in words, or None where only an example asks
        support   the question as an example, or None where only words ask
        ignore    (H, W) bool, pixels that are neither trained on nor scored; None: there are none
        label     what a mean over classes counts the sample under: its class, or its own index where there are none
        name      where it comes from, for messages and sheets: "refer_val.json, task 12, picture 31"
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    phrase: str | None
    support: Support | None = None
    ignore: NDArray[np.bool_] | None = None
    label: int = 0
    name: str = ""


class SampleDataset(Dataset[Sample]):
    """A data set of samples whose entries are drawn with a given generator: no state, so any order can be resumed.

    `labels` names the classes that `Sample.label` counts, and is empty where every sample counts for itself.
    """

    seed: int = 0
    labels: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> one of the samples it can give; the same for the same state."""

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")  # what ends a for loop over it
        return self.draw(index % len(self), np.random.default_rng([self.seed, index % len(self)]))


def check_chance(name: str, value: float) -> None:
    """Raise UsageError for a probability that is none."""
    if not 0 <= value <= 1:
        raise UsageError(f"{name} is {value}; expected a probability from 0 to 1")
