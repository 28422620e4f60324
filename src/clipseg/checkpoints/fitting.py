"""Does a file hold exactly the tensors a model needs? Strict, and everything that is wrong is said at once.

Names are changed only as a whole file and only if afterwards every expected tensor is found: `module.` of data-parallel
saves, `clipseg.` of early conversions, and `clip.`, `text_model.`, `vision_model.` present in one of file and model and
absent in the other. Nothing is ever matched by its ending.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from clipseg.checkpoints.keymaps import abbreviate
from clipseg.errors import CheckpointMismatchError

Shapes = Mapping[str, Sequence[int]]
Rename = Callable[[str], str]

# Index buffers stored before transformers 4.31, and a layer of the original class that nothing calls.
_IGNORED = re.compile(r"(?:.+\.)?embeddings\.position_ids|(?:decoder\.)?reduce\.(?:weight|bias)")

_PLAIN_HEAD = "decoder.transposed_convolution.weight"
_REFINED_HEAD = "decoder.transposed_convolution.0.weight"
_REFINED_KERNEL = "decoder.transposed_convolution.2.weight"
_FILM = "decoder.film_mul.weight"
_PROJECTIONS = ("text_projection.weight", "visual_projection.weight")
_INNER = "decoder.layers.0.mlp.fc1.weight"
_REDUCES = re.compile(r"decoder\.reduces\.\d+\.weight")


@dataclass(frozen=True)
class Fitted:
    """A file that fits: its tensors under the model's names, and what the model has to do without.

    `missing_keys` are those of the missing heads, `surplus_keys` what the file held beyond the model's needs, and
    `mismatched_keys` those of heads that were left out because of them, with the shapes found and expected.
    """

    tensors: dict[str, Tensor]
    missing_heads: tuple[str, ...]
    missing_keys: tuple[str, ...]
    surplus_keys: tuple[str, ...]
    mismatched_keys: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()


def fit(
    tensors: Mapping[str, Tensor],
    expected: Shapes,
    *,
    source: str,
    heads: Sequence[str] = (),
    surplus: Sequence[str] = (),
    ignore_mismatched_heads: bool = False,
) -> Fitted:
    """A file's tensors and the shapes a model expects -> the tensors under the model's names, complete and finite.

    `heads` are prefixes (`decoder.`) that a file may lack entirely, and which the caller then initialises and warns
    about; partly there is an error, and so are other shapes, unless `ignore_mismatched_heads` leaves such a head out.
    `surplus` are prefixes of tensors that the model can do without. Position indices and the unused `reduce` of
    original files never count. Raises one CheckpointMismatchError that names all missing, unused and misshapen
    tensors, and the way out where one is known.
    """
    if all(key.startswith("module.") for key in tensors):  # a data-parallel save
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    named = {key: value for key, value in tensors.items() if not _IGNORED.fullmatch(key)}
    found = _renamed(named, expected, tuple(heads))
    misshapen = [key for key in expected if key in found and tuple(found[key].shape) != tuple(expected[key])]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    if ignore_mismatched_heads:
        left = tuple(head for head in heads if any(key.startswith(head) for key in misshapen))
        mismatched = tuple(
            (key, tuple(found[key].shape), tuple(expected[key])) for key in misshapen if key.startswith(left)
        )
        found = {key: value for key, value in found.items() if not key.startswith(left)}
        misshapen = [key for key in misshapen if not key.startswith(left)]
    absent_heads = tuple(head for head in heads if _lacks_entirely(found, expected, head))
    absent = [key for key in expected if key not in found]
    left_out = tuple(key for key in absent if key.startswith(absent_heads))
    extra = [key for key in found if key not in expected]
    spare = tuple(key for key in extra if key.startswith(tuple(surplus)))
    problems = _Problems(
        missing=[key for key in absent if key not in left_out],
        unused=[key for key in extra if key not in spare],
        misshapen=misshapen,
    )
    if problems:
        raise CheckpointMismatchError(problems.message(source, found, expected))
    fitting = {key: found[key] for key in expected if key in found}
    return Fitted(fitting, absent_heads, left_out, spare, mismatched)


def _lacks_entirely(found: Mapping[str, Tensor], expected: Shapes, head: str) -> bool:
    wanted = [key for key in expected if key.startswith(head)]
    return bool(wanted) and not any(key in found for key in wanted)


# Names


def _renamed(tensors: Mapping[str, Tensor], expected: Shapes, heads: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors under the first set of names that has every expected key; else under the closest such set."""
    needed = {key for key in expected if not key.startswith(heads)}
    closest = dict(tensors)
    fewest = len(needed)
    for steps in _renamings(expected):
        candidate = {_apply(key, steps): value for key, value in tensors.items()}
        missing = len(needed - candidate.keys())
        if missing < fewest and len(candidate) == len(tensors):  # never let two names become one
            closest, fewest = candidate, missing
        if fewest == 0:
            break
    return closest


def _renamings(expected: Shapes) -> Iterator[tuple[Rename, ...]]:
    """Every allowed change of names, the mildest first."""

    def keep(key: str) -> str:
        return key

    def early(key: str) -> str:
        return "clip." + key.removeprefix("clipseg.") if key.startswith("clipseg.") else key

    def remove(prefix: str) -> Rename:
        return lambda key: key.removeprefix(prefix)

    def add(prefix: str) -> Rename:
        return lambda key: key if key in expected else prefix + key

    spellings = (keep, early)
    bases = (keep, remove("clip."), add("clip."))
    towers = (keep, remove("text_model."), remove("vision_model."), add("text_model."), add("vision_model."))
    yield from product(spellings, bases, towers)


def _apply(key: str, steps: Sequence[Rename]) -> str:
    for step in steps:
        key = step(key)
    return key


# What is wrong, and the way out


@dataclass(frozen=True)
class _Problems:
    missing: list[str]
    unused: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unused or self.misshapen)

    def message(self, source: str, found: Mapping[str, Tensor], expected: Shapes) -> str:
        """All problems on one line, with the remedies that are known."""
        shapes = [f"{key} (found {_size(found[key].shape)}, expected {_size(expected[key])})" for key in self.misshapen]
        lists = [("missing", self.missing), ("unused", self.unused), ("misshapen", shapes)]
        complaints = [f"{len(items)} {kind}: {abbreviate(items)}" for kind, items in lists if items]
        advice = "; ".join(_remedies(found, expected, self.misshapen))
        return f"{source} does not fit the model: {'; '.join(complaints)}{f' -> {advice}' if advice else ''}"


def _remedies(found: Mapping[str, Tensor], expected: Shapes, misshapen: Sequence[str]) -> Iterator[str]:
    """The ways out that the names and shapes suggest."""
    if not found.keys().isdisjoint(("film_mul.weight", "visual.conv1.weight", "clip_model.visual.conv1.weight")):
        yield "this is an original file, turn it into a model folder with `clipseg convert`"
    if found and all(key.startswith("decoder.") for key in found):
        yield "the file holds the decoder alone, name the CLIP weights (ViT-B/16 for the released ones) as well"
    if _REFINED_HEAD in found and _PLAIN_HEAD in expected:
        yield "set use_complex_transposed_convolution=True, the file has the refined head"
    if _PLAIN_HEAD in found and _REFINED_HEAD in expected:
        yield "set use_complex_transposed_convolution=False, the file has the plain head"
    for key, option in ((_FILM, "reduce_dim"), (_INNER, "decoder_intermediate_size")):
        if key in misshapen and found[key].shape[:1] != torch.Size(expected[key][:1]):
            yield f"set {option}={found[key].shape[:1].numel()}"
    for key in misshapen:
        if key.endswith(_PROJECTIONS) and found[key].shape[1:] == torch.Size(expected[key][1:]):
            yield f"set projection_dim={found[key].shape[:1].numel()}"
            break
        if key.startswith("classifier."):
            yield "name the file's own num_labels, or set ignore_mismatched_sizes=True for a new classifier"
            break
    in_file, in_model = (sum(bool(_REDUCES.fullmatch(key)) for key in keys) for keys in (found, expected))
    if in_file and in_model and in_file != in_model:
        yield f"name {in_file} layers in extract_layers, not {in_model}"
    for key in misshapen:
        if key in (_PLAIN_HEAD, _REFINED_KERNEL) and found[key].shape[2:] != torch.Size(expected[key][2:]):
            yield "set patch_size to the file's own, to which the kernels of its head must multiply"
        if key.endswith("embeddings.position_embedding.weight") and "vision_model" in key:
            cells = found[key].shape[:1].numel() - 1
            yield f"set image_size and patch_size to the file's own ({cells} cells), pictures of any size still fit it"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
