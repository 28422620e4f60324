"""One optimiser step: the parts of a batch through the model, their losses summed over parts and processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from clipseg.errors import TrainingError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.training.distributed import Processes
from clipseg.training.optimisation import learning_rate, new_optimizer
from clipseg.training.sampling import Seed
from clipseg.training.stages import Optimisation
from clipseg.training.work import Batch, Losses, Work

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]


class NotFiniteError(TrainingError):
    """A loss or a gradient that is no number; `names` are those of the samples that it comes from."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = list(names)


class Stepper:
    """A model and the work of one stage, ready to take its steps. `optimizer_state` is that of an earlier `state()`."""

    def __init__(
        self,
        model: CLIPSegForImageSegmentation,
        work: Work,
        stage: Optimisation,
        number: int,
        seed: int,
        precision: Precision,
        processes: Processes,
        optimizer_state: Mapping[str, Any] | None,
    ) -> None:
        self.model, self.work, self.stage, self.processes = model, work, stage, processes
        self.number, self.seed, self.precision = number, (seed, number), precision
        # A text tower gets no gradient from a step without texts, and so on; a decoder takes part in every loss.
        unused = any(parameter.requires_grad for parameter in model.clip.parameters())
        self.module = processes.wrapped(_Loss(model, work), unused=unused)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = new_optimizer(self.trained, stage)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=precision == "float16")
        if optimizer_state is not None:
            self.optimizer.load_state_dict(optimizer_state["optimizer"])
            self.scaler.load_state_dict(optimizer_state["scaler"])

    def state(self) -> dict[str, Any]:
        """-> what the next steps need beside the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def autocast(self) -> torch.autocast:
        """-> the context in which the model computes."""
        kind = torch.float16 if self.precision == "float16" else torch.bfloat16
        return torch.autocast(self.model.device.type, kind, enabled=self.precision != "float32")

    def step(self, step: int, parts: Sequence[Batch], *, stop: bool = False) -> tuple[Losses, bool]:
        """A step from 0 and this process's parts -> its shares of the losses, and whether any process is to stop.

        Raises NotFiniteError, in all processes, before any weight has changed.
        """
        torch.manual_seed(_seed_of(self.seed, step, self.processes.rank))
        rate = learning_rate(self.stage, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        counts = torch.stack([self.work.counts(part) for part in parts])  # (parts, K)
        shares = counts / self.processes.sum(counts.sum(0)).clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        totals: Losses = {}
        bad: list[tuple[int, float]] = []
        for place, (part, share) in enumerate(zip(parts, shares, strict=True)):
            losses = self._backward(part, share, last=place == len(parts) - 1)
            for name, loss in losses.items():
                totals[name] = totals.get(name, torch.zeros_like(loss)) + loss.detach()
            if not torch.isfinite(losses["loss"]):
                bad.append((place, losses["loss"].item()))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained, self.stage.clip or torch.inf)
        flags = self.processes.sum(torch.tensor([len(bad), int(stop)]))
        if flags[0]:
            self._refuse("loss", step, bad)
        if not self.scaler.is_enabled() and not torch.isfinite(norm):  # a scaler leaves such a step out, and goes lower
            self._refuse("gradient's norm", step, [(place, norm.item()) for place in range(len(parts))])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return totals, bool(flags[1])

    def _backward(self, part: Batch, share: torch.Tensor, *, last: bool) -> Losses:
        """One part forwards and backwards; processes exchange gradients once, after the last part."""
        device = self.model.device
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in part.items()}
        waits = nullcontext() if last or self.processes.world == 1 else self.module.no_sync()  # type: ignore[operator]
        with waits:
            with self.autocast():
                losses: Losses = self.module(moved, share.to(device, torch.float32))
            # Gradients of several processes become their mean, and these losses are shares of a sum.
            self.scaler.scale(losses["loss"] * self.processes.world).backward()
        return losses

    def _refuse(self, what: str, step: int, bad: Sequence[tuple[int, float]]) -> None:
        own = [name for place, _ in bad for name in self.work.names(step, place)]
        told = self.processes.gather((own, [value for _, value in bad]))
        names = [name for theirs, _ in told for name in theirs]
        value = next(value for _, values in told for value in values)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise NotFiniteError(
            f"the {what} is {value} at step {step} of stage {self.number}; lower lr, or look at the batch: {shown}",
            names,
        )


class _Loss(nn.Module):
    """The losses of a model as a module of their own, because processes exchange gradients around one call of one."""

    def __init__(self, model: CLIPSegForImageSegmentation, work: Work) -> None:
        super().__init__()
        self.model, self.work = model, work

    def forward(self, batch: Batch, shares: torch.Tensor) -> Losses:
        """A part and its shares -> its losses."""
        return self.work.losses(self.model, batch, shares)


def _seed_of(seed: Seed, step: int, rank: int) -> int:
    """-> the seed of torch's generators for a step: what dropout draws does not depend on the steps before."""
    mixed = 0
    for number in (*seed, step, rank):
        mixed = (mixed * 1_000_003 + number + 1) % (1 << 63)
    return mixed
