"""Training on synthetic scenes, as the bundled model needs it: the tasks of `tasks.py` as work for the loop."""

from __future__ import annotations

import torch

from clipseg.data.scenes import SceneGenerator
from clipseg.errors import ConfigurationError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.training.distributed import Processes
from clipseg.training.sampling import Seed
from clipseg.training.stages import Stage
from clipseg.training.tasks import TASKS, Task
from clipseg.training.work import Batch, Losses, Validation, summed

VALIDATION_BATCHES = 4
VALIDATION_SEED = 1_000_000  # added to the recipe's seed: scenes no step draws
MAIN_SCORES = {"contrastive": "top1", "segmentation": "iou_text"}


class SyntheticWork:
    """A stage on synthetic scenes, for one process; see `work.Work`.

    A step is `accumulate` batches of the task, whose losses compare the pictures of a batch and so cannot be cut;
    processes share them. Raises ConfigurationError where these do not go round.
    """

    def __init__(
        self, stage: Stage, generator: SceneGenerator, tokenizer: CLIPTokenizer, seed: Seed, processes: Processes
    ) -> None:
        self.stage, self.processes = stage, processes
        self.task: Task = TASKS[stage.task](stage, generator, tokenizer, seed)
        held_out = (seed[0] + VALIDATION_SEED, *seed[1:])
        self.held_out: Task = TASKS[stage.task](stage, generator, tokenizer, held_out)
        self.main_score = MAIN_SCORES[stage.task]
        self.parts, left = divmod(stage.accumulate, processes.world)
        if left or not self.parts:
            raise ConfigurationError(
                f"{stage.accumulate} batches of scenes a step cannot be shared by {processes.world} processes; "
                "set accumulate to a multiple of their number"
            )

    def part(self, step: int, number: int) -> Batch:
        """-> what the task makes of one batch."""
        return self.task.batch(self._place(step, number))

    def names(self, step: int, number: int) -> list[str]:
        """-> the name of a batch: its number in the stage."""
        return [f"batch {self._place(step, number)} of synthetic scenes"]

    def counts(self, batch: Batch) -> torch.Tensor:
        """-> one batch."""
        return torch.ones(1, dtype=torch.float64)

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch, shares: torch.Tensor) -> Losses:
        """-> the batch's share of the task's losses."""
        return {name: loss * shares[0] for name, loss in self.task.losses(model, batch).items()}

    def validate(self, model: CLIPSegForImageSegmentation) -> Validation:
        """-> mean scores on scenes that no training step draws."""
        scores: dict[str, list[float]] = {}
        for step in range(self.processes.rank, VALIDATION_BATCHES, self.processes.world):
            batch = {name: value.to(model.device) for name, value in self.held_out.batch(step).items()}
            for name, values in self.held_out.scores(model, batch).items():
                scores.setdefault(name, []).extend(values)
        names = sorted({name for found in self.processes.gather(list(scores)) for name in found})
        return Validation(summed({name: scores.get(name, []) for name in names}, self.processes))

    def _place(self, step: int, number: int) -> int:
        return step * self.stage.accumulate + number * self.processes.world + self.processes.rank
