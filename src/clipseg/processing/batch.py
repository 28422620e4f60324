"""What the tokeniser, the image processors and the processors return."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class BatchFeature(dict[str, Any]):
    """A dict of model inputs: `batch.input_ids` is `batch["input_ids"]`, and `model(**batch)` takes it whole."""

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
