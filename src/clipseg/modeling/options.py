"""The options of `from_pretrained` and `save_pretrained` that scripts pass along: taken, without effect, or refused.

None of them may end up in the configuration by accident, and none may be dropped that would have changed the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from clipseg.configuration.base import MOOT
from clipseg.errors import UsageError

LOADING_MOOT = MOOT | {
    "use_safetensors",  # preferred in any case, and pickles are read as tensors alone
    "weights_only",
    "low_cpu_mem_usage",  # a model is never built twice
    "_fast_init",
    "max_memory",  # nothing is ever spread over devices or left on the disk
    "offload_folder",
    "offload_state_dict",
    "offload_buffers",
}
SAVING_MOOT = frozenset(
    {"token", "use_auth_token", "repo_id", "private", "commit_message", "commit_description", "create_pr", "revision",
     "save_peft_format", "max_retries", "save_original_format"}
)  # fmt: skip

REFUSED = {
    "proxies": "set the environment variable HTTPS_PROXY",
    "from_tf": "convert the weights to safetensors first",
    "from_flax": "convert the weights to safetensors first",
    "gguf_file": "use a safetensors file",
    "key_mapping": "rename the tensors and pass them as state_dict",
    "quantization_config": "load in bfloat16 with dtype instead",
    "load_in_8bit": "load in bfloat16 with dtype instead",
    "load_in_4bit": "load in bfloat16 with dtype instead",
    "tp_plan": "the model fits on one device, name it with device_map",
    "push_to_hub": "call push_to_hub(repo_id) instead",
    "save_function": "pass the tensors to it yourself, they are in state_dict()",
}
"""What is not offered, and the way out; a value that asks for nothing (None, False) is let through."""


def effective(options: Mapping[str, Any], moot: Iterable[str]) -> dict[str, Any]:
    """Keyword arguments -> those that are left when the moot ones are taken out. Raises UsageError for refused ones."""
    for name, way_out in REFUSED.items():
        if options.get(name):
            raise UsageError(f"{name} is not offered; {way_out}")
    return {name: value for name, value in options.items() if name not in REFUSED and name not in moot}


def refuse_unknown(caller: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError if any option is unknown, with the nearest name that is known."""
    for name in unknown:
        near = difflib.get_close_matches(name, list(known), n=1)
        raise UsageError(
            f"{caller} got an unknown argument {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        )


def parse_device(where: object) -> torch.device | None:
    """A `device_map` -> the one device: a name, a number, a torch device, "auto" or {"": any of these}.

    "auto" is the first GPU where there is one. Raises UsageError for anything else, other dictionaries included: a
    model is never spread over devices.
    """
    if isinstance(where, Mapping):
        if list(where) != [""]:
            raise UsageError(
                f"device_map names {len(where)} parts; a model goes to one device as a whole, as by {{'': 'cuda:0'}}"
            )
        where = where[""]
    if where is None or isinstance(where, torch.device):
        return where
    if where in ("auto", "balanced", "balanced_low_0", "sequential"):
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        return torch.device("cuda", where) if isinstance(where, int) else torch.device(str(where))
    except RuntimeError:
        raise UsageError(
            f'unknown device {where!r}; expected a name such as "cuda:0" or "cpu", a number or "auto"'
        ) from None
