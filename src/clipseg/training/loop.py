"""The training loop: stages one after the other, a JSON-lines log, checkpoints that any crash leaves whole.

    trainer = Trainer(segmenter, PromptedStage(steps=500, batch=16, lr=1e-3), data=dataset, out="runs/mine")
    trainer.fit()                            # goes on from the last checkpoint in the folder, if there is one
    trainer.model.save_pretrained("mine")    # runs/mine/model also has processor, recipe and log

What a step sees and draws is a function of the seed, the stage and the step alone. So the same run started again goes
on where its last checkpoint left it and ends in the same weights, bit for bit, as if it had never been interrupted.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from clipseg.checkpoints.files import write_json
from clipseg.data.sample import SampleDataset
from clipseg.data.scenes import SceneGenerator
from clipseg.errors import CheckpointMismatchError, ConfigurationError, UsageError
from clipseg.folder_lock import held
from clipseg.masks.png import save_picture
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.segmenter import Segmenter
from clipseg.signals import Stop
from clipseg.training.adapters import added_parameters, merge
from clipseg.training.curves import draw_curves
from clipseg.training.distributed import Processes, training_device
from clipseg.training.dropout import decoder_dropout
from clipseg.training.feature_cache import FeatureCache
from clipseg.training.models import new_processor, save_model
from clipseg.training.optimisation import learning_rate
from clipseg.training.parameters import prepare_parameters
from clipseg.training.progress import Progress, Stopwatch, Summary, Watcher
from clipseg.training.prompted import PromptedWork
from clipseg.training.recipes import AnyStage, Settings
from clipseg.training.run_folder import Checkpoint, Position, RunFolder
from clipseg.training.stages import PromptedStage
from clipseg.training.stepping import NotFiniteError, Stepper
from clipseg.training.synthetic import SyntheticWork
from clipseg.training.work import Batch, Losses, Work, steps_of

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps

Resume: TypeAlias = Literal["auto"] | bool
"""Whether a run goes on: "auto" where there is a checkpoint, True: there has to be one, False: it begins anew."""


class Trainer:
    """A model, what to do with it, and the folder of the run."""

    def __init__(
        self,
        model: CLIPSegForImageSegmentation | Segmenter,
        stages: AnyStage | Sequence[AnyStage],
        *,
        out: str | os.PathLike[str],
        data: SampleDataset | None = None,
        validation: SampleDataset | None = None,
        scenes: SceneGenerator | None = None,
        processor: CLIPSegProcessor | None = None,
        settings: Settings | None = None,
        device: torch.device | str = "auto",
        processes: Processes | None = None,
        tensorboard: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        """A model, or a segmenter, which brings its `processor`; one stage or several; a run folder.

        `data` and `validation` are for prompted stages, `scenes` for synthetic ones. `processes` are those of
        `distributed.joined()`; `watcher` is called after every step. Raises UsageError and ConfigurationError for parts
        that do not go together.
        """
        if isinstance(model, Segmenter):
            own = model.processor
            processor = own if processor is None and isinstance(own, CLIPSegProcessor) else processor
            model = model.model
        if processor is None:
            raise UsageError("training needs the model's processor; give a Segmenter, or processor=")
        self.stages = [*stages] if isinstance(stages, Sequence) else [stages]
        if isinstance(last := self.stages[-1], PromptedStage):  # what it is trained with is what it will be asked with
            processor = new_processor(processor.tokenizer, last.size)
        self.settings = settings or Settings()
        self.processes = processes or Processes()
        self.device = training_device(device, self.processes)
        if self.settings.precision == "float16" and self.device.type != "cuda":
            raise ConfigurationError(f"precision float16 needs a GPU, and this is {self.device.type}; use bfloat16")
        self.model, self.processor = model.to(self.device), processor
        self.data, self.validation, self.scenes = data, validation, scenes
        self.folder = RunFolder(Path(out))
        self.tensorboard, self.watcher = tensorboard, watcher
        self.configuration: dict[str, Any] = {
            **asdict(self.settings),
            "stages": [asdict(stage) for stage in self.stages],
            "data": {"kind": type(data).__name__, "samples": 0 if data is None else len(data)},
        }
        self._summary: Summary | None = None
        self._latest: dict[str, Any] = {}  # of what was logged
        self._prepared = 0  # stages whose parameters have been made ready
        self._saved: set[str] = set()  # names of what has trained so far
        self._frozen = 0  # a CRC-32 of what has not, and which no checkpoint holds

    def fit(self, resume: Resume = "auto") -> Path | None:
        """Train to the end -> the folder of the model; None where SIGTERM or SIGINT ended it, after a checkpoint.

        A run that is finished does nothing. Raises ConfigurationError where the folder belongs to another run, or holds
        nothing to go on from and should; OutputError where another process trains in it, or it cannot be written;
        NotFiniteError, and what reading data raises.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng([self.device] if self.device.type == "cuda" else []))
            if self.processes.first:
                stack.enter_context(held(self.folder.path))
            checkpoint = self._begin(resume)
            position = Position() if checkpoint is None else checkpoint.position
            if position.stage == len(self.stages) and self.folder.model.is_dir():
                log.info("%s is finished", self.folder.path)
                return self.folder.model
            works = [self._work(number) for number in range(len(self.stages))]  # what is wrong with a late one is said
            if checkpoint is not None:
                log.info("goes on after step %d of %d", position.total, self._total)
            if self.tensorboard and self.processes.first:
                self._summary = stack.enter_context(closing(Summary(self.folder.path / "tensorboard", position.total)))
            stop = stack.enter_context(Stop())
            for number in range(position.stage, len(self.stages)):
                resumed = checkpoint if checkpoint is not None and number == position.stage else None
                if not self._stage(number, works[number], resumed, stop):
                    return None
            return self._finish()

    def evaluate(self) -> dict[str, float]:
        """-> the validation scores of the model as it is, by the last stage's rules."""
        work = self._work(len(self.stages) - 1)
        with torch.inference_mode():
            return dict(work.validate(self.model.eval()).scores)

    @property
    def _total(self) -> int:
        return sum(stage.steps for stage in self.stages)

    # -- stages --------------------------------------------------------------------------------------------------

    def _stage(self, number: int, work: Work, resumed: Checkpoint | None, stop: Stop) -> bool:
        """Run one stage to its end, from where a checkpoint left it -> False where it was told to stop before."""
        stage, settings = self.stages[number], self.settings
        self._prepare(number)
        if isinstance(stage, PromptedStage) and isinstance(work, PromptedWork) and stage.cache:
            work.cache = self._cache(stage)
        begun, state = (0, None) if resumed is None else (resumed.position.step, resumed.optimizer)
        stepper = Stepper(self.model, work, stage, number, settings.seed, settings.precision, self.processes, state)
        before = sum(earlier.steps for earlier in self.stages[:number])
        watch = Stopwatch()
        with ExitStack() as stack:
            if isinstance(stage, PromptedStage):
                stack.enter_context(decoder_dropout(self.model.decoder, stage.dropout))
                self.model._set_gradient_checkpointing(stage.checkpoint_activations)
            batches = stack.enter_context(closing(steps_of(work, begun, stage.steps, settings.workers)))
            self._train_mode()
            for step in range(begun, stage.steps):
                position = Position(number, step + 1, before + step + 1)
                last = position.step == stage.steps
                with watch.waiting():
                    parts = next(batches)
                shares, told = self._step(stepper, step, parts, stop)
                if last or position.step % LOG_EVERY == 0:
                    losses = {name: round(loss, 5) for name, loss in self._summed(shares).items()}
                    lr = round(learning_rate(stage, step), 7)
                    self._write(position, {"lr": lr, **watch.read(stage.batch), **losses})
                score = None
                if last or (stage.validate_every and position.step % stage.validate_every == 0):
                    score = self._validate(work, stepper, position)
                    watch.restart()
                is_best = score is not None and self.folder.is_best(position, score)
                if last or told or is_best or position.step % settings.save_every == 0:
                    self._save(position, None if last else stepper, score if is_best else None)
                self._tell(position)
                if told and position.total < self._total:
                    log.info("stopped after step %d of %d; the same command goes on", position.total, self._total)
                    return False
        return True

    def _cache(self, stage: PromptedStage) -> FeatureCache:
        """-> the activations of CLIP on all pictures, stored now where they are not yet."""
        datasets = [dataset for dataset in (self.data, self.validation) if dataset is not None]
        folder = Path(self.settings.cache_folder or self.folder.path / "features")
        return FeatureCache.fill(
            self.model,
            datasets,
            folder,
            size=stage.size,
            dtype=stage.cache_type,
            rank=self.processes.rank,
            world=self.processes.world,
        )

    def _step(self, stepper: Stepper, step: int, parts: list[Batch], stop: Stop) -> tuple[Losses, bool]:
        """One step of the optimiser; where it cannot be taken, the names of its samples are written down."""
        try:
            return stepper.step(step, parts, stop=stop.asked)
        except NotFiniteError as error:
            if self.processes.first:
                told = {"stage": stepper.number, "step": step, "message": str(error), "names": error.names}
                write_json(self.folder.path / "non_finite.json", told)
            raise

    def _validate(self, work: Work, stepper: Stepper, position: Position) -> float | None:
        """Validate, log it and keep its sheet -> the main score, None where there is none."""
        self.model.eval()
        with torch.inference_mode(), stepper.autocast():
            found = work.validate(self.model)
        self._train_mode()
        if found.scores:
            self._write(position, {"validation": {name: round(score, 4) for name, score in found.scores.items()}})
        if found.sheet is not None and self.processes.first:
            save_picture(self.folder.path / "validation" / f"step-{position.total:07d}.png", found.sheet)
        return found.scores.get(work.main_score)

    def _work(self, number: int) -> Work:
        """The number of a stage -> its work for this process. Raises UsageError where there is nothing to train on."""
        stage, seed, tokenizer = self.stages[number], (self.settings.seed, number), self.processor.tokenizer
        if not isinstance(stage, PromptedStage):
            if self.scenes is None:
                raise UsageError("a synthetic stage needs scenes=, a SceneGenerator")
            return SyntheticWork(stage, self.scenes, tokenizer, seed, self.processes)
        if self.data is None:
            raise UsageError("a prompted stage needs data=, a data set of samples")
        samples = self.settings.validation_samples
        return PromptedWork(stage, self.data, self.validation, tokenizer, seed, self.processes, samples)

    # -- the model -----------------------------------------------------------------------------------------------

    def _prepare(self, number: int) -> None:
        """Make the parameters of the stages up to one ready: what trains in it is free, what has trained is saved."""
        for stage in self.stages[self._prepared : number + 1]:
            if isinstance(stage, PromptedStage):
                dissolves = bool(added_parameters(self.model))  # those of an earlier stage, into the weights of CLIP
                torch.manual_seed(self.settings.seed)
                prepare_parameters(self.model, stage.train, rank=stage.rank, width=stage.width)
                if dissolves:
                    self._saved |= self.model.state_dict().keys()
            trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
            self._saved = (self._saved & self.model.state_dict().keys()) | trained
            self._prepared += 1
        total = 0
        for name, tensor in self.model.state_dict().items():
            if name not in self._saved:
                total = zlib.crc32(tensor.cpu().reshape(-1).view(torch.uint8).numpy(), total)
        self._frozen = total

    def _train_mode(self) -> None:
        """Have the parts in training mode that train: dropout is no part of a frozen CLIP."""
        self.model.train()
        if not any(parameter.requires_grad for parameter in self.model.clip.parameters()):
            self.model.clip.eval()

    # -- the folder ----------------------------------------------------------------------------------------------

    def _begin(self, resume: Resume) -> Checkpoint | None:
        """Claim the folder -> the checkpoint to go on from, already in the model; None where the run begins."""
        if resume is not False:
            self.folder.check(self.configuration)
        if self.processes.first:
            if resume is False:
                self.folder.clear()
            self.folder.claim(self.configuration)
        self.processes.wait()
        checkpoint = self.folder.latest()
        if checkpoint is None and resume is True:
            raise ConfigurationError(f"{self.folder.path} holds no checkpoint to go on from; leave --resume out")
        if checkpoint is not None:
            written_in = checkpoint.position.stage - (
                checkpoint.position.step == 0
            )  # where a stage begins, by the last
            self._prepare(written_in)
            self._load(checkpoint)
        self.processes.wait()  # or a first one could take away what the others have yet to read
        if self.processes.first:
            self.folder.rewind_log(Position() if checkpoint is None else checkpoint.position)
        return checkpoint

    def _load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.weights.keys() != self._saved or checkpoint.frozen != self._frozen:
            raise CheckpointMismatchError(
                f"the checkpoints in {self.folder.path} are of another model; start from the model that the run began "
                "with, or give another folder"
            )
        self.model.load_state_dict(dict(checkpoint.weights), strict=False)

    def _save(self, position: Position, stepper: Stepper | None, score: float | None) -> None:
        """Write a checkpoint: of a stage that goes on with its stepper, without one where the stage ends."""
        if not self.processes.first:
            return
        after = position if stepper is not None else Position(position.stage + 1, 0, position.total)
        state = self.model.state_dict()
        weights = {name: state[name] for name in sorted(self._saved)}
        optimizer = None if stepper is None else stepper.state()
        checkpoint = Checkpoint(after, weights, optimizer, self._frozen)
        path = self.folder.save(checkpoint, self.configuration)
        if score is not None:
            self.folder.mark_best(path, position, score)
        self.folder.prune(self.settings.keep)

    def _finish(self) -> Path:
        """Write the model, and the curves -> the model's folder."""
        best = self.folder.best() if self.settings.final == "best" else None
        chosen = None if best is None else self.folder.read(best)
        if chosen is not None:
            self._load(chosen)
        if self.processes.first:
            lengths = [stage.steps for stage in self.stages]
            save_picture(self.folder.path / "curves.png", draw_curves(self.folder.entries(), lengths))
            merge(self.model)
            kinds = self.scenes.pictograms if self.scenes is not None else None
            files = {"recipe.json": self.folder.path / "recipe.json", "training_log.jsonl": self.folder.log}
            save_model(self.folder.model, self.model.eval(), self.processor, self.settings.saved_as, kinds, files)
        self.processes.wait()
        return self.folder.model

    def _summed(self, shares: Losses) -> dict[str, float]:
        """Shares of the losses, those of this process -> the losses."""
        totals = self.processes.sum(torch.stack([*shares.values()]).double().cpu())
        return dict(zip(shares, totals.tolist(), strict=True))

    def _write(self, position: Position, values: dict[str, Any]) -> None:
        """Log values after a step."""
        self._latest |= values
        if self.processes.first:
            log.info(self.folder.write_log({"stage": position.stage, "step": position.step, **values}))
            if self._summary is not None:
                self._summary.write(values, position.total)

    def _tell(self, position: Position) -> None:
        """Tell the watcher how far the run has come."""
        if self.watcher is not None and self.processes.first:
            self.watcher(Progress.after(position.total, self._total, self._latest))
