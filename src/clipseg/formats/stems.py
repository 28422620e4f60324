"""Names of files that are made from the names of pictures."""

from pathlib import PurePath

from clipseg.errors import PictureError, UsageError
from clipseg.formats.classes import is_text


class Stems:
    """The stems of the pictures of one run, each of which may come once, on any file system."""

    def __init__(self) -> None:
        self._pictures: dict[str, str] = {}

    def taken(self, file_name: str) -> str:
        """A picture's name -> its stem: "a/cat.jpg" -> "cat".

        Raises PictureError for a stem that a list of stems cannot hold, UsageError where there is none or it is taken.
        """
        stem = PurePath(file_name).stem
        if not stem:
            raise UsageError(f"{file_name!r} is no name of a picture, so its labels would have none either")
        if stem != stem.strip() or len(stem.splitlines()) > 1 or not all(map(is_text, stem)):
            raise PictureError(f"{file_name!r} cannot be listed by its name, which has odd characters; rename it")
        if stem.casefold() in self._pictures:
            other = self._pictures[stem.casefold()]
            raise UsageError(f"{file_name!r} and {other!r} would be labelled in one file; rename one of them")
        self._pictures[stem.casefold()] = file_name
        return stem
