"""Logits of the model -> what a person looks at: soft masks and label maps at the size of the picture.

Legend: P prompts of one picture, B rows of a batch (the prompts of all its pictures), H, W the size of the logits, h, w
the size of a picture.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipseg.errors import UsageError

if TYPE_CHECKING:
    import torch

NO_LABEL = -1
"""The label of a pixel that belongs to none of the prompts."""


def post_process_masks(logits: "torch.Tensor", target_size: tuple[int, int] | None = None) -> "torch.Tensor":
    """Logits (P, H, W) of one picture -> probabilities (P, h, w) in float32, on the same device.

    The logits are resized, bilinear between pixel centres (`align_corners=False`), and then taken through the sigmoid.
    Without `target_size` the maps keep their size. Raises UsageError for other shapes.
    """
    return resized(_maps(logits), target_size).sigmoid()


def post_process_semantic_segmentation(
    outputs: Any,
    target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
    *,
    prompts_per_image: int | None = None,
    threshold: float | None = None,
) -> "list[torch.Tensor]":
    """What the segmentation model gave for B rows -> one int64 label map (h, w) for each picture.

    A label is the number of the prompt, counted from 0 for each picture, whose logit is highest at that pixel; with
    `threshold` it is `NO_LABEL` (-1) where even that one's probability is not above it. (With a single prompt and no
    threshold every pixel is thus 0.) The rows are the prompts of the first picture, then those of the second, …:
    `prompts_per_image` each, which is B, all of one picture, unless said otherwise or shown by the number of
    `target_sizes`. Those are the (h, w) of each picture; without them the maps are as large as the logits, which are
    resized bilinearly before anything is decided. `outputs` has `logits` (B, H, W), or is those.
    Raises UsageError where the rows cannot be shared out like that, and for a threshold outside 0...1.
    """
    logits = _maps(outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", outputs))
    sizes = None if target_sizes is None else _sizes(target_sizes)
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold is a probability from 0 to 1, got {threshold!r}")
    pictures = len(sizes) if sizes is not None else len(logits) // (prompts_per_image or len(logits))
    prompts = prompts_per_image or len(logits) // max(1, pictures)
    if prompts < 1 or prompts * pictures != len(logits):
        each = "equally many prompts" if prompts_per_image is None else f"{prompts_per_image} prompts"
        raise UsageError(
            f"{len(logits)} rows of logits are not {pictures} pictures with {each} each; target_sizes has one "
            "(height, width) for each picture, prompts_per_image says how many rows that has"
        )
    groups = logits.split(prompts)
    if sizes is None:
        return [label_map(group, threshold=threshold) for group in groups]
    return [label_map(group, size, threshold) for group, size in zip(groups, sizes, strict=True)]


def label_map(
    logits: "torch.Tensor", target_size: tuple[int, int] | None = None, threshold: float | None = None
) -> "torch.Tensor":
    """Logits (P, H, W) of one picture -> int64 (h, w): the prompt that is highest there, the first of equal ones.

    With `threshold`, `NO_LABEL` where its probability is not above that. Prompts are taken one after the other, so a
    thousand of them need no more memory than two.
    """
    import torch

    best = resized(_maps(logits)[:1], target_size)[0]  # (h, w)
    labels = torch.zeros(best.shape, dtype=torch.int64, device=best.device)
    for label in range(1, len(logits)):
        rival = resized(logits[label : label + 1], target_size)[0]  # (h, w)
        labels[rival > best] = label
        best = torch.maximum(best, rival)
    if threshold is not None:
        labels[~(best.sigmoid() > threshold)] = NO_LABEL
    return labels


def resized(logits: "torch.Tensor", size_hw: tuple[int, int] | None) -> "torch.Tensor":
    """(P, H, W) -> (P, h, w) in float32, bilinear between pixel centres."""
    import torch.nn.functional as F  # noqa: N812  the name everyone gives it

    logits = logits.float()
    if size_hw is None:
        return logits
    return F.interpolate(logits[None], tuple(size_hw), mode="bilinear", align_corners=False)[0]


def _maps(logits: Any) -> "torch.Tensor":
    import torch

    if not isinstance(logits, torch.Tensor) or logits.ndim != 3 or 0 in logits.shape:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(f"expected logits (prompts, height, width), or an output that has them, got {got}")
    return logits.detach()


def _sizes(target_sizes: Any) -> list[tuple[int, int]]:
    sizes = target_sizes.tolist() if hasattr(target_sizes, "tolist") else target_sizes
    try:
        pairs = [(int(height), int(width)) for height, width in sizes]
    except (TypeError, ValueError):
        pairs = [(0, 0)]
    if not pairs or min(map(min, pairs)) < 1:
        raise UsageError(f"target_sizes is a list with one (height, width) for each picture, got {target_sizes!r:.80}")
    return pairs
