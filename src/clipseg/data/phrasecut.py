"""PhraseCut: phrases, and everything that each means in a picture of Visual Genome; and PhraseCut+, its extension.

    PhraseCut(root, "val")                                            phrases as they are
    PhraseCut(root, negatives=0.2, visual=True)                       PhraseCut+, what the published weights learnt from
    PhraseCut(root, negatives=0.2, visual=True, remove=("pas5i", 0))  without what fold 0 of Pascal-5i is tested with

One entry is one phrase about one picture; `phrasecut_files` has the format. What becomes of a sample in training, the
crop, the engineering of supports and the mixing of text and picture, is the trainer's.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipseg.data.phrasecut_files import Pictures, missing_files, read_annotations, read_picture
from clipseg.data.problems import OnProblem, Problems
from clipseg.data.removal import Rule, avoided
from clipseg.data.sample import Sample, SampleDataset, Support, check_chance
from clipseg.errors import DataError, UsageError
from clipseg.masks.polygons import rasterise

SPLITS = ("train", "val", "test", "miniv")


class PhraseCut(SampleDataset):
    """Phrases about pictures, each with the union of the polygons of all it means.

    A sample's mask has the pixels whose middle is inside a polygon, by pycocotools, which neither adds to areas nor
    takes from them. (The original asks for the pixels' top left corners: masks of the same area, half a pixel further
    right and down.) `draw` follows the paper's loader:

        negatives             chance that the phrase becomes another one of the set, all alike likely, and the mask
                              empty. Phrases annotated for the same picture are not taken, which the original does not
                              check. Where the picture has every phrase of the set, the sample stays as it is.
        visual                gives a support: any sample of the same phrase, of the one that replaced it where one did.
                              A phrase that occurs once has none. Supports may be samples that `min_size` leaves out.
        support_may_be_query  whether the support may be the very sample it is for, as in the original
        only_visual           leaves out phrases that occur once, as entries and as replacements; needs `visual`
        remove                leaves out phrases by one of the rules of `removal`, such as ("pas5i", 0)
        min_size              leaves out entries whose boxes have no more than this share of the picture's area
        check_pictures        looks at the size of every picture at the start, which opens each file once; otherwise a
                              broken picture is a DataError when it is drawn

    Malformed rows and missing pictures are `problems`, passed over or, with on_problem="raise", a DataError. Left out
    without a word are, as in the original, rows with an empty "phrase_structure" and those about the pictures that are
    known to be of another size than their annotations. `phrases` are the distinct phrases. Raises DataError for a
    folder without the files of the split, for files that are no JSON, and where no entry is left; UsageError for
    options out of their range.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        negatives: float = 0.0,
        visual: bool = False,
        only_visual: bool = False,
        remove: Rule = (),
        min_size: float = 0.0,
        support_may_be_query: bool = True,
        check_pictures: bool = False,
        seed: int = 0,
        on_problem: OnProblem = "skip",
    ) -> None:
        check_chance("negatives", negatives)
        if split not in SPLITS:
            raise UsageError(f"split is {split!r}; PhraseCut has {', '.join(SPLITS)}")
        if only_visual and not visual:
            raise UsageError("only_visual=True leaves only phrases that have supports; it needs visual=True")
        if not 0 <= min_size < 1:
            raise UsageError(f"min_size is {min_size}; expected a share of the picture's area, from 0 to below 1")
        unwanted = avoided(remove)
        root = Path(root).expanduser()
        if missing := missing_files(root, split):
            raise DataError(f"{root} is no PhraseCut with the split {split}: {', '.join(missing)} missing")
        self.seed, self.split, self.negatives, self.visual = seed, split, negatives, visual
        self.support_may_be_query = support_may_be_query
        self.problems = Problems(on_problem)
        self._file = root / f"refer_{split}.json"
        self._folder = root / "images"
        pictures = Pictures(root, self.problems, check_pictures)
        self._rows = rows = read_annotations(self._file, pictures, unwanted, self.problems)

        counts = np.bincount(rows.phrases, minlength=len(rows.texts))
        self._is_asked = counts > 1 if only_visual else counts > 0  # by phrase
        self._asked = np.flatnonzero(self._is_asked)
        self._entries = np.flatnonzero(self._is_asked[rows.phrases] & (rows.box_shares > min_size))
        self._of_phrase = _Groups(rows.phrases)
        self._of_picture = _Groups(rows.pictures)
        self.phrases = tuple(rows.texts[phrase] for phrase in self._asked)
        if not len(self._entries):
            raise DataError(
                f"{self._file} leaves no phrase to ask for: {len(rows.tasks)} rows can be used, "
                f"{len(self.problems)} are malformed; see what remove, only_visual and min_size leave out"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> one of its samples; raises DataError for a picture that cannot be read."""
        row, rows = int(self._entries[index]), self._rows
        own = phrase = int(rows.phrases[row])
        if self.negatives and rng.random() < self.negatives:
            phrase = self._another(row, rng)
        support = self._support(phrase, row, rng) if self.visual else None
        shown = self._shown(row)
        return Sample(
            picture=shown.picture,
            mask=shown.mask if phrase == own else np.zeros_like(shown.mask),
            phrase=rows.texts[phrase],
            support=support,
            label=index,
            name=f"{self._file.name}, task {rows.tasks[row].decode()}, picture {self._picture_id(row)}",
        )

    def _another(self, row: int, rng: np.random.Generator) -> int:
        """A row -> a phrase that no row has about its picture; its own where there is none."""
        here = np.unique(self._rows.phrases[self._of_picture[int(self._rows.pictures[row])]])
        here = here[self._is_asked[here]]
        others = len(self._asked) - len(here)
        if not others:
            return int(self._rows.phrases[row])
        place = int(rng.integers(others))
        for taken in np.searchsorted(self._asked, here):  # rising, so that each is stepped over once
            place += place >= taken
        return int(self._asked[place])

    def _support(self, phrase: int, row: int, rng: np.random.Generator) -> Support | None:
        """A phrase asked about a row -> a row of that phrase, shown; None where there is no other."""
        rows = self._of_phrase[phrase]
        if len(rows) < 2:
            return None
        if not self.support_may_be_query:
            rows = rows[rows != row]
        return self._shown(int(rng.choice(rows)))

    def _shown(self, row: int) -> Support:
        """A row -> its picture and its mask."""
        height, width = self._rows.sizes_hw[self._rows.pictures[row]].tolist()
        picture = read_picture(self._folder / f"{self._picture_id(row)}.jpg", (height, width))
        return Support(picture, rasterise(self._rows.rings(row), (height, width)))

    def _picture_id(self, row: int) -> int:
        return self._rows.picture_ids[int(self._rows.pictures[row])]


class _Groups:
    """Numbers (R,) from 0 -> for each number the places where it stands, rising."""

    def __init__(self, numbers: NDArray[np.int32]) -> None:
        self._places = np.argsort(numbers, kind="stable")
        self._ends = np.cumsum(np.bincount(numbers))

    def __getitem__(self, number: int) -> NDArray[np.intp]:
        return self._places[self._ends[number - 1] if number else 0 : self._ends[number]]
