"""What is asked of a picture, taken apart into the prompts that a model answers, and put together from its answers.

    question = Question.of("face AND NOT hair", negative=["a hat"])
    question.prompts                       # face, hair, a hat: each distinct prompt once
    question.answers(logits, size_hw)      # their maps -> one map for the expression, one for the negative

Shapes: L distinct prompts · P terms asked for · N negatives · h, w low-resolution logits · H, W picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from clipseg.prompting.expressions import Check, Term, evaluate, leaves, unhurried
from clipseg.prompting.prompts import PromptSource, as_prompts, as_prompts_if_any


@dataclass(frozen=True, eq=False)
class Question:
    """Terms asked for and not wanted, and the distinct prompts in all of them, in order of appearance."""

    terms: tuple[Term, ...]
    negatives: tuple[Term, ...]
    prompts: tuple[Term, ...]

    @classmethod
    def of(
        cls, prompts: PromptSource | Iterable[PromptSource], negative: PromptSource | Iterable[PromptSource] = ()
    ) -> Question:
        """Prompts and expressions in any form -> a question. Raises PromptError for none, or for what is no prompt."""
        terms, negatives = as_prompts(prompts), as_prompts_if_any(negative)
        distinct = dict.fromkeys(leaf for term in (*terms, *negatives) for leaf in leaves(term))
        return cls(tuple(terms), tuple(negatives), tuple(distinct))

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each term asked for."""
        return tuple(term.label for term in self.terms)

    def answers(
        self, logits: torch.Tensor, size_hw: tuple[int, int], check: Check = unhurried
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (L, h, w) of the prompts, the picture's size -> those of the terms (P, h, w) and negatives (N, h, w).

        Negatives are None where there are none. Nothing is copied where each term is a prompt of its own. `check` is
        called between the steps of expressions.
        """
        wanted = (*self.terms, *self.negatives)
        if wanted != self.prompts:
            maps = dict(zip(self.prompts, logits, strict=True))
            cell_hw = (size_hw[0] / logits.shape[1], size_hw[1] / logits.shape[2])
            logits = torch.stack([evaluate(term, maps.__getitem__, cell_hw, check) for term in wanted])
        count = len(self.terms)
        return logits[:count], logits[count:] if self.negatives else None


def distinct_prompts(
    prompts: PromptSource | Iterable[PromptSource], negative: PromptSource | Iterable[PromptSource] = ()
) -> tuple[Term, ...]:
    """Prompts and expressions in any form -> each distinct prompt in them: what the model is asked, and how often.

    Raises PromptError for none, for what is no prompt, and for an expression that cannot be read.
    """
    return Question.of(prompts, negative).prompts
