"""What the server allows, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clipseg.errors import UsageError

MEGABYTE = 2**20

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine that nobody elsewhere can give to another."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """All limits, each above 0; their defaults suit one machine and the people who share it.

    Fields
        bytes            of a body, and so of a picture's file
        pixels           of a picture, known from its header before it is decoded
        prompts          in a request, those within expressions and negatives counted
        tiled_prompts    the same for a picture in tiles, whose maps are many times as large
        letters          of one prompt
        terms            of all expressions in a request, each counted as often as it is named
        tiles            of a picture
        queue            requests that are taken at once; the next is told to come again
        seconds          that a request may take once its body is here
        body_seconds     that a body may take to arrive
        idle_seconds     that may pass between two parts of it
        answer_bytes     of the tensors in an answer; in JSON a hundredth of that
        bodies_bytes     of all bodies that are being read or answered
        store_bytes      of the files of pictures that are remembered
        decoded_bytes    of pictures that are kept decoded
        features_bytes   of features, which is what makes another question about a picture fast
        prompts_bytes    of stored prompts, and of embeddings of examples
    """

    bytes: int = 32 * MEGABYTE
    pixels: int = 50_000_000
    prompts: int = 64
    tiled_prompts: int = 16
    letters: int = 1000
    terms: int = 2000
    tiles: int = 256
    queue: int = 64
    seconds: float = 60.0
    body_seconds: float = 120.0
    idle_seconds: float = 15.0
    answer_bytes: int = 256 * MEGABYTE
    bodies_bytes: int = 256 * MEGABYTE
    store_bytes: int = 512 * MEGABYTE
    decoded_bytes: int = 256 * MEGABYTE
    features_bytes: int = 512 * MEGABYTE
    prompts_bytes: int = 16 * MEGABYTE

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise UsageError(f"the limit {field.name} is {getattr(self, field.name)!r}; expected more than 0")
        if self.bytes > min(self.bodies_bytes, self.store_bytes):
            raise UsageError(
                f"a body may have {self.bytes} bytes, but all bodies {self.bodies_bytes} and all pictures "
                f"{self.store_bytes}; allow them as many at least"
            )


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask.

    Fields
        token    that every request has to bring, health and the page itself aside; None: none
        hosts    names in the header Host that are meant for this server; None: any, which needs a token
        origins  of pages elsewhere that may ask, such as "https://example.org"
        page     whether there is a page
    """

    token: str | None = None
    hosts: frozenset[str] | None = LOOPBACK
    origins: frozenset[str] = frozenset()
    page: bool = True

    def __post_init__(self) -> None:
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("a token is at least 8 letters of ASCII; make one with: openssl rand -hex 16")
        if self.token is not None and self.token != self.token.strip():  # what a header begins and ends with is lost
            raise UsageError("a token begins and ends with no space")
        if self.hosts is None and self.token is None:
            raise UsageError("a server that answers to any name needs a token")
