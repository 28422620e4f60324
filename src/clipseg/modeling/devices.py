"""Whether a device is there at all, asked before anything is loaded onto it."""

from __future__ import annotations

import torch

from clipseg.errors import UsageError
from clipseg.modeling.options import parse_device


def available_device(where: object) -> torch.device:
    """What `parse_device` takes, and -1 for the CPU -> the device. Raises UsageError if it is not there."""
    device = parse_device("cpu" if where == -1 else where) or torch.device("cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such driver, or a torch built without it
        reason = str(error).splitlines()[0]
        raise UsageError(
            f'device {where!r} is not available here ({reason}); leave device out, or give device="cpu"'
        ) from None
    return device
