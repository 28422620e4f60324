"""Which file is written for which picture and mask, known before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipseg.cli.inputs import Picture
from clipseg.cli.naming import DEFAULT, DEFAULT_OF_INSTANCES, NameTemplate, unique_stems
from clipseg.errors import UsageError
from clipseg.formats.outputs import Output
from clipseg.masks.names import unique_slugs


@dataclass(frozen=True)
class Job:
    """One picture, its number from 1, the stem of its results, and the name that only it has in a data set."""

    picture: Picture
    number: int
    stem: str
    listed: str


@dataclass(frozen=True)
class Plan:
    """What is written where.

    Fields
        folder     of all results
        template   of the names of files with one mask
        labels     of the masks of each picture
        outputs    kinds of files
        instances  whether parts of masks have files of their own
    """

    folder: Path
    template: NameTemplate
    labels: tuple[str, ...]
    outputs: tuple[Output, ...]
    instances: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "_slugs", unique_slugs(self.labels))

    def of(self, scope: str) -> Iterator[Output]:
        """-> the outputs of a scope."""
        return (output for output in self.outputs if output.scope == scope)

    def mask_file(self, job: Job, output: Output, place: int, instance: int = 1) -> Path:
        """The place of a mask, and perhaps the number of a part of it -> its file."""
        slugs: Sequence[str] = self._slugs  # type: ignore[attr-defined]  # set above, of a frozen class
        values: dict[str, str | int] = {
            "stem": job.stem,
            "prompt": slugs[place],
            "kind": output.kind,
            "index": place + 1,
            "instance": instance,
            "picture": job.number,
            "folder": Path(job.picture.path).absolute().parent.name or "root",
        }
        return self.folder / job.picture.below / self.template.formatted(values, output.suffix)

    def picture_file(self, job: Job, output: Output) -> Path:
        """-> the file of all masks of a picture."""
        kind = "" if output.suffix == f".{output.kind}" else f".{output.kind}"
        return self.folder / job.picture.below / f"{job.stem}{kind}{output.suffix}"

    def set_file(self, output: Output) -> Path:
        """-> the file or folder of a data set, named after its format."""
        return self.folder / f"{output.kind}{output.suffix}"

    def files(self, job: Job) -> Iterator[Path]:
        """-> all files of a picture; of parts the first."""
        for output in self.of("mask"):
            yield from (self.mask_file(job, output, place) for place in range(len(self.labels)))
        yield from (self.picture_file(job, output) for output in self.of("picture"))

    def is_done(self, job: Job) -> bool:
        """Whether the results of a picture are there.

        Of parts, of which there may be none, that is seen by the files of the whole picture, if any are written.
        """
        whole = [self.picture_file(job, output) for output in self.of("picture")]
        expected = whole if self.instances and whole else list(self.files(job))
        return all(path.exists() or path.with_name(f"{path.stem}.1{path.suffix}").exists() for path in expected)


def read_template(text: str | None, *, instances: bool) -> NameTemplate:
    """The value of --name -> the template. Raises UsageError."""
    template = NameTemplate(text or (DEFAULT_OF_INSTANCES if instances else DEFAULT))
    if instances and "instance" not in template.fields:
        raise UsageError(f"--instances have a file each, so --name {template.text!r} needs {{instance}}")
    if not instances and "instance" in template.fields:
        raise UsageError(f"--name {template.text!r} has {{instance}}, which there is only with --instances")
    return template


def jobs_of(pictures: Iterable[Picture]) -> list[Job]:
    """Pictures -> jobs; results that lie in one folder differ in their stems, and in data sets all do."""
    pictures = list(pictures)
    folders: dict[Path, list[int]] = {}
    for place, picture in enumerate(pictures):
        folders.setdefault(picture.below, []).append(place)
    stems = [""] * len(pictures)
    for places in folders.values():
        for place, stem in zip(places, unique_stems(pictures[place].stem for place in places), strict=True):
            stems[place] = stem
    listed = unique_stems(picture.stem for picture in pictures)
    return [
        Job(picture, number, stem, name + Path(picture.name).suffix)
        for number, (picture, stem, name) in enumerate(zip(pictures, stems, listed, strict=True), start=1)
    ]
