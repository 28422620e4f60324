"""CLIP's vision tower under a linear classifier.

Shapes: B pictures · N tokens · D width · K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import nn

from clipseg.configuration.clip import CLIPConfig
from clipseg.errors import ConfigurationError, UsageError
from clipseg.modeling.calls import answer, flag
from clipseg.modeling.initialisation import initialise_projection
from clipseg.modeling.outputs import ImageClassifierOutput
from clipseg.modeling.vision import CLIPVisionBase

PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


class CLIPForImageClassification(CLIPVisionBase):
    """The vision tower, the mean of its patches, and a linear layer, unless `config.num_labels` is 0."""

    config_class = CLIPConfig
    head_prefixes = ("classifier.",)

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        width = config.vision_config.hidden_size
        self.classifier = nn.Linear(width, config.num_labels) if config.num_labels else nn.Identity()
        self.initialise()

    def _initialise(self) -> None:
        super()._initialise()
        self.initialise_head("classifier.")

    def initialise_head(self, prefix: str) -> None:
        """Draw the weights of a head that a checkpoint does not hold."""
        if isinstance(self.classifier, nn.Linear):
            initialise_projection(self.classifier, self.config.initializer_factor)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Pixels (B, 3, H, W) -> logits (B, K); with `labels` the loss as well, see `classification_loss`."""
        vision = self.vision_model(
            pixel_values,
            flag(output_attentions, self.config.output_attentions),
            flag(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding,
            return_dict=True,
        )
        logits = self.classifier(vision.last_hidden_state[:, 1:].mean(1))  # (B, K), the class token left out
        output = ImageClassifierOutput(
            loss=None if labels is None else classification_loss(logits, labels, self.config.problem_type),
            logits=logits,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )
        return answer(output, self.config, return_dict)


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, problem: str | None) -> torch.Tensor:
    """Logits (B, K) and labels -> the mean loss of the kind of problem, one of PROBLEMS.

    Left open it is regression for K = 1, one class for integer labels (B,), several classes for floats (B, K).
    Raises UsageError for labels of another shape, ConfigurationError for another problem.
    """
    if problem is None:
        integer = not (labels.is_floating_point() or labels.is_complex())
        problem = PROBLEMS[0] if logits.shape[1] == 1 else PROBLEMS[1] if integer else PROBLEMS[2]
    if problem not in PROBLEMS:
        raise ConfigurationError(f"unknown problem_type {problem!r}; known are {', '.join(PROBLEMS)}")
    count = len(logits) if problem == PROBLEMS[1] else logits.numel()
    if labels.numel() != count:
        shape = (len(logits),) if problem == PROBLEMS[1] else tuple(logits.shape)
        raise UsageError(f"labels have shape {tuple(labels.shape)}; {problem} expects {shape}")
    labels = labels.to(logits.device)
    if problem == "regression":
        return F.mse_loss(logits, labels.to(logits.dtype).reshape(logits.shape))
    if problem == "single_label_classification":
        return F.cross_entropy(logits, labels.reshape(-1).long())
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype).reshape(logits.shape))
