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
        *device_or_dtype: "str | int | torch.device | torch.dtype",
        device: "str | int | torch.device | None" = None,
        dtype: "torch.dtype | None" = None,
        non_blocking: bool = False,
    ) -> "BatchFeature":
        """Every tensor onto a device, floating-point ones also into a dtype; in place -> this batch.

        Integers (token ids, masks) keep their dtype; what is no tensor stays as it is.
        """
        import torch

        for value in device_or_dtype:
            if isinstance(value, torch.dtype):
                dtype = value
            else:
                device = value
        for name, value in self.items():
            if isinstance(value, torch.Tensor):
                wanted = dtype if value.is_floating_point() else None
                self[name] = value.to(device=device, dtype=wanted, non_blocking=non_blocking)
        return self
