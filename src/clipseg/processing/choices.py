"""The enumerations by which documented options may be given; each member's value is the option's plain name."""

from enum import Enum


class ChannelDimension(str, Enum):
    """Where a picture's channels are: `data_format`, `input_data_format`."""

    FIRST = "channels_first"
    """(C, H, W)."""
    LAST = "channels_last"
    """(H, W, C)."""
    NONE = "none"
    """(H, W)."""


class TensorType(str, Enum):
    """What a batch is made of: `return_tensors`, `tensor_type`."""

    PYTORCH = "pt"
    NUMPY = "np"
