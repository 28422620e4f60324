"""What the tokeniser, the image processors and the processors return."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from clipseg.processing.lengths import stacked

if TYPE_CHECKING:
    import torch

Self = TypeVar("Self", bound="BatchFeature")


class BatchFeature(dict[str, Any]):
    """A dict of model inputs: `batch.input_ids` is `batch["input_ids"]`, and `model(**batch)` takes it whole.

    `data` are the columns by name, further keywords are columns as well; `tensor_type` ("np" or "pt") makes arrays or
    tensors of them, see `convert_to_tensors`.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None, **columns: Any) -> None:
        super().__init__(data or {}, **columns)
        self.convert_to_tensors(tensor_type)

    @property
    def data(self) -> dict[str, Any]:
        """The columns as a plain dict."""
        return dict(self)

    def convert_to_tensors(self: Self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> Self:
        """Every column into an array of numpy ("np") or torch ("pt"); in place -> this batch. See `stacked`."""
        if tensor_type is not None:
            for name, column in self.items():
                self[name] = stacked([column] if prepend_batch_axis else column, tensor_type)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} in this batch, which holds {', '.join(self) or 'nothing'}") from None

    def to(
        self,
        *device_or_dtype: "str | int | torch.device | torch.dtype | None",
        device: "str | int | torch.device | None" = None,
        dtype: "torch.dtype | None" = None,
        non_blocking: bool = False,
    ) -> "BatchFeature":
        """Every tensor onto a device, floating-point ones also into a dtype; in place -> this batch.

        By position: a device, a dtype, or both in this order; TypeError for anything else, as of `Tensor.to`. Tensors
        in lists move too. Integers (token ids, masks) keep their dtype; what is no tensor stays as it is.
        """
        import torch

        for position, value in enumerate(device_or_dtype):
            if isinstance(value, torch.dtype) and position == len(device_or_dtype) - 1 < 2:
                dtype = value
            elif not isinstance(value, torch.dtype) and position == 0:
                device = value
            else:
                raise TypeError(f"to() takes a device, a dtype, or a device and a dtype, got {device_or_dtype}")

        def moved(value: Any) -> Any:
            if isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
                return type(value)(map(moved, value))
            if not isinstance(value, torch.Tensor):
                return value
            return value.to(device, dtype if value.is_floating_point() else None, non_blocking=non_blocking)

        for name, value in self.items():
            self[name] = moved(value)
        return self
