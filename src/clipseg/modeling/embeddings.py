"""The module through which a model takes its raw input in: looked at, replaced, resized for added tokens.

Shapes: V entries of the vocabulary · D tower width.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import nn

from clipseg.errors import UsageError

LEGACY_EOS = 2
"""The end-of-text id in old configurations. It is wrong as an id, and means: pool at the highest id."""


class InputEmbeddings(nn.Module):
    """Base of models: where their raw input enters."""

    input_embeddings: ClassVar[str]
    """The path of the module that takes the raw input in."""
    config: Any

    def get_input_embeddings(self) -> nn.Module:
        """-> the module that takes the raw input in: the token embedding, or the patch convolution."""
        return self.get_submodule(self.input_embeddings)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the module that takes the raw input in."""
        self.set_submodule(self.input_embeddings, value)

    def get_output_embeddings(self) -> None:
        """-> None: no model here has output embeddings."""

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """A number of tokens V, as of `len(tokenizer)` -> the token embedding (V, D), cut or grown at its end.

        It replaces the former one, and the configuration's `vocab_size` follows. New vectors start as the mean of the
        old ones, or drawn as in a new model without `mean_resizing`. V is rounded up to `pad_to_multiple_of`; without
        a V it is the present one. Warns where a configuration finds the end of a text by the highest id, which added
        tokens would take for themselves. Raises UsageError for a model without tokens and a V below 1.
        """
        old = self.get_input_embeddings()
        if not isinstance(old, nn.Embedding):
            raise UsageError(f"{type(self).__name__} takes no tokens in, so it has no token embeddings to resize")
        count = old.num_embeddings if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of is not None:
            count = -(-count // pad_to_multiple_of) * pad_to_multiple_of
        if count < 1:
            raise UsageError(f"new_num_tokens is {count}; expected at least 1, as of len(tokenizer)")
        if count == old.num_embeddings:
            return old
        text = self.config.get_text_config()
        if text.eos_token_id == LEGACY_EOS and count > old.num_embeddings:
            warnings.warn(
                f"this configuration has eos_token_id={LEGACY_EOS}, which means that a text ends at its highest id; "
                "an added token is higher than the end token: set the text configuration's eos_token_id to the "
                "tokenizer's and load the model with it",
                stacklevel=2,
            )
        with torch.no_grad():
            kept = old.weight[:count]
            new = old.weight.new_empty(count - len(kept), old.embedding_dim)
            if mean_resizing:
                new[:] = old.weight.float().mean(0)
            else:
                new.normal_(std=0.02 * text.initializer_factor)
            table = torch.cat([kept, new])
        embedding: nn.Embedding = nn.Embedding.from_pretrained(table, freeze=not old.weight.requires_grad)
        self.set_input_embeddings(embedding.train(old.training))
        text.vocab_size = count
        return embedding

    def enable_input_require_grads(self) -> None:
        """Let what comes out of the input's module require gradients, for adapters in a model that is frozen."""
        self.disable_input_require_grads()
        self._require_grads_hook = self.get_input_embeddings().register_forward_hook(_require_grads)

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        if (hook := self.__dict__.pop("_require_grads_hook", None)) is not None:
            hook.remove()


def _require_grads(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
    output.requires_grad_(True)
