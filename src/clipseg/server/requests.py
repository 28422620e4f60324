"""What clients ask, as it comes in JSON. `reading` makes prompts and options of it; `/openapi.json` describes it.

Looking at a body ends with the first thing that is wrong in it: each error takes kilobytes, there may be one for every
few bytes of a body, and only one is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

MOST_OPTIONS = 100
"""Names of options in a question, far more than there are."""


def _few(options: Any) -> Any:
    """Options as they come -> the same. Raises PydanticCustomError for more than anybody has."""
    if isinstance(options, dict) and len(options) > MOST_OPTIONS:
        raise PydanticCustomError("too_long", f"there are {len(options)} options, more than {MOST_OPTIONS}")
    return options


def most_telling(problems: Sequence[Any]) -> Any:
    """Problems that pydantic found -> the one that helps most.

    Of a value that may be of several types that is a bound it passes, and not that it is of none of the others.
    """
    return next((one for one in problems if not one["type"].endswith("_type")), problems[0])


Id: TypeAlias = Annotated[str, Field(max_length=64)]
Word: TypeAlias = Annotated[str, Field(max_length=100)]
Text: TypeAlias = Annotated[str, Field(max_length=10_000)]
Number: TypeAlias = Annotated[int | float, Field(ge=-1e9, le=1e9)]
Length: TypeAlias = Number | Word
Level: TypeAlias = Number | Word
Value: TypeAlias = StrictBool | Number | Word | Annotated[list[Number | Word], Field(fail_fast=True)] | None
Options: TypeAlias = Annotated[dict[Word, Value], BeforeValidator(_few)]
OPTIONS: TypeAdapter[dict[str, Value]] = TypeAdapter(Options, config=ConfigDict(allow_inf_nan=False))
Templates: TypeAlias = Word | Annotated[list[Text], Field(fail_fast=True)]

Result: TypeAlias = Literal["maps", "masks", "rle", "polygons", "boxes", "instances", "scores"]


class Body(BaseModel):
    """A body of JSON: names that are not known are errors, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise PydanticCustomError("extra_forbidden", "{name} is not known here", {"name": repr(name[:40])})
        return given


class RunLengths(Body):
    """A mask as COCO's run lengths, compressed or plain."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str | Annotated[list[int], Field(fail_fast=True)]


class Prompt(Body):
    """What is looked for: exactly one of `text`, `picture`, `embedding` and `prompt`, and what belongs to it."""

    text: Text | None = Field(None, description='A phrase, or an expression such as "face AND NOT hair".')
    expression: bool | None = Field(None, description="false: the text is a phrase, whatever words are in it.")
    picture: Id | None = Field(None, description="The id of an example picture.")
    mask: RunLengths | str | None = Field(
        None, description="Of the example: the id of a picture of its size, a PNG in base64, or run lengths."
    )
    box: tuple[Number, Number, Number, Number] | None = Field(None, description="Of the example: x0, y0, x1, y1.")
    style: Word | None = Field(None, description="Of the example: a name of /v1/styles.")
    embedding: Annotated[list[float], Field(fail_fast=True)] | None = Field(
        None, description="A ready condition, as /v1/embed gives them."
    )
    prompt: Id | None = Field(None, description="The id of a stored prompt.")
    label: Text | None = None
    weight: Annotated[float, Field(gt=0, le=1e9)] = Field(1, description="Multiplies its probability.")
    threshold: Level | None = Field(None, description="Of this mask alone; without one that of the options.")
    named: bool = Field(False, description="It makes no mask, but expressions may speak of it by its label.")


Prompts: TypeAlias = Annotated[list[Prompt | Text], Field(max_length=10_000, fail_fast=True)]


class SegmentRequest(Body):
    """A picture and what to look for in it."""

    picture: Id
    prompts: Prompts
    negative: Prompts = Field([], description="What is not wanted, taken out of every mask.")
    templates: Templates = Field("plain", description="Sentences that phrases are put into, or their name.")
    combine: Literal["max", "mean", "sum", "product"] | None = Field(None, description="How all masks become one.")
    fit: Literal["squash", "letterbox", "crop", "tile"] | None = None
    tile: Length | None = None
    overlap: Length | None = None
    options: Options = Field({}, description="How masks are finished: names and values of /v1/options.")
    results: list[Result] = Field(
        ["rle"], max_length=10, fail_fast=True, description="What the answer says of each mask."
    )
    format: Literal["json", "png", "zip"] = "json"
    formats: list[Annotated[str, Field(max_length=200)]] = Field(
        [],
        max_length=20,
        fail_fast=True,
        description='Of a zip: what it holds, such as "png" or "overlay:alpha=0.5,legend=no".',
    )
    name: Word = Field("picture", description="Of a zip: what its files' names begin with.")
    instances: bool = Field(False, description="Of a zip: each connected part of a mask has files of its own.")


class EmbedRequest(Body):
    """Prompts that are wanted as embeddings."""

    prompts: Prompts
    templates: Templates = "plain"


class SimilarityRequest(EmbedRequest):
    """A picture, and prompts to compare it with."""

    picture: Id


class StoreRequest(Body):
    """A prompt to be remembered, and what it is called."""

    prompt: Prompt | Text
    label: Text | None = None


# -- what is answered ------------------------------------------------------------------------------------------------


class Failure(BaseModel):
    """Why there is no answer."""

    class Error(BaseModel):
        """A kind, which programs tell apart, and a message for people."""

        kind: str
        message: str

    error: Error


class ProtocolFailure(BaseModel):
    """The same under /v2, in one line: the kind, and the message."""

    error: str


class PictureAnswer(BaseModel):
    """A picture that is known now."""

    id: str
    width: int
    height: int


class Timing(BaseModel):
    """Where the time went, in milliseconds, and whether the picture had to be encoded."""

    queued_ms: float
    encoded: bool
    total_ms: float


class SegmentAnswer(BaseModel):
    """The masks of a picture; what each of them holds says `results`."""

    picture: str
    width: int
    height: int
    masks: list[dict[str, Any]]
    timing: Timing


class EmbedAnswer(BaseModel):
    """Embeddings, one row for each prompt."""

    labels: list[str]
    embeddings: list[list[float]]


class SimilarityAnswer(BaseModel):
    """Cosines from -1 to 1, one for each prompt."""

    labels: list[str]
    cosines: list[float]


class StoredPrompt(BaseModel):
    """A prompt that is remembered."""

    id: str
    label: str


class StoredPrompts(BaseModel):
    """All of them."""

    prompts: list[StoredPrompt]
