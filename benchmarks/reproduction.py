"""The paper's tables in miniature: its recipes, scaled down, on synthetic scenes.

    python benchmarks/reproduction.py --out runs/reproduction --markdown docs/reproduction.md

Every model is trained by its own recipe, the one that would train it on PhraseCut; SCALED_DOWN is all that differs:
nano's frozen CLIP instead of ViT-B/16, scenes instead of photographs, and steps that two cores can take. A model that
is trained already is not trained again, and one that was interrupted goes on. `--steps` and `--samples` make it
shorter. The tables are written into the page between its marks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipseg.data.scene_samples import SceneSamples
from clipseg.evaluation.options import options_for
from clipseg.evaluation.tasks import evaluate
from clipseg.prompting.styles import DEFAULT_STYLE
from clipseg.segmenter import Segmenter
from clipseg.training.recipes import read_recipe
from clipseg.training.run import trainer_of

FOLD = 0  # of kinds that no decoder is trained on
SEED = 4_000_000  # of the scenes that are asked about; those trained on have seed 0
SCALED_DOWN = {
    "model.start": "nano",
    "model.decoder_intermediate_size": 256,
    "stages.0.size": 128,
    "stages.0.batch": 32,
    "stages.0.crop": False,
    "stages.0.validate_every": 0,
    "precision": "bfloat16",
    "workers": 1,
}
TRAINED_ON = {"kind": "scenes", "length": 20_000, "fold": FOLD, "described": 0.3}


@dataclass(frozen=True)
class Row:
    """A model of the paper's tables: its name there, its recipe, the layers it taps in nano, and what it learns from.

    `paper` are its figures on PhraseCut: mIoU and AP by text, mIoU and AP by example (table of ablations).
    """

    name: str
    recipe: str
    layers: tuple[int, ...] = (1, 3, 5)
    visual: bool = True
    negatives: float = 0.2
    paper: tuple[float | None, ...] = (None, None, None, None)


ROWS = (
    Row("CLIPSeg (PC+)", "rd64", paper=(43.6, 76.7, 25.4, 55.6)),
    Row("CLIPSeg, no visual", "ablation-no-visual", visual=False, paper=(46.4, 77.8, 14.4, 31.0)),
    Row("CLIPSeg, D = 16", "rd16", paper=(37.4, 71.5, 24.7, 51.2)),
    Row("CLIPSeg, one layer", "ablation-layer3", (1,), paper=(31.9, 64.9, 21.5, 48.6)),
    Row("CLIPSeg, highlight", "ablation-highlight", paper=(43.4, 75.4, 23.3, 43.8)),
    Row("CLIPSeg, no CLIP pre-training", "ablation-no-pretraining", paper=(13.1, 12.6, 12.7, None)),
    Row("CLIP-Deconv", "clip-deconv", (5,), visual=False, negatives=0.0, paper=(37.7, 71.2, None, None)),
)
STYLES = ("whole", "crop", "dim", "blur", "blur_highlight", "crop_blur_highlight")


def trained(row: Row, out: Path, steps: int) -> Path:
    """A row -> the folder of its model, trained now unless it is already."""
    data = {**TRAINED_ON, "negatives": row.negatives, "visual": row.visual}
    settings = {**SCALED_DOWN, "model.extract_layers": list(row.layers), "stages.0.steps": steps}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in data.items())
    recipe = read_recipe(row.recipe, [*overrides, f"data={{ {table} }}"])
    folder = trainer_of(recipe, out / row.recipe).fit()
    if folder is None:
        raise KeyboardInterrupt
    return folder


def measured(model: Path, samples: int, style: str) -> dict[str, float]:
    """A model's folder -> its figures, in hundredths."""
    segmenter = Segmenter.from_pretrained(model)
    referring = SceneSamples(samples, described=1.0, seed=SEED)
    apart = SceneSamples(samples, fold=FOLD, split="test", visual=True, seed=SEED + 1)
    unknown = SceneSamples(samples, kinds="held-out", visual=True, seed=SEED + 2)
    asked = {
        "referring": (referring, "text"),
        "zero_shot": (apart, "text"),
        "one_shot": (apart, "example"),
        "one_shot_unknown": (unknown, "example"),
    }
    figures = {}
    for name, (data, prompt) in asked.items():
        options = options_for("referring", prompt=prompt, style=style, worst=0)
        found = evaluate("referring", segmenter, data, options).metrics
        for figure in ("iou_per_sample_mean", "iou_cumulative_best", "average_precision"):
            figures[f"{name}_{figure}"] = round(100 * found[figure], 1)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--steps", type=int, default=600, help="of each model (default: 600)")
    parser.add_argument("--samples", type=int, default=400, help="asked of each task (default: 400)")
    parser.add_argument("--only", nargs="*", help="recipes to do (default: all)")
    given = parser.parse_args(arguments)
    for row in ROWS:
        if given.only and row.recipe not in given.only:
            continue
        style = "blur_highlight" if row.recipe == "ablation-highlight" else DEFAULT_STYLE
        model = trained(row, given.out, given.steps)
        figures = measured(model, given.samples, style)
        (given.out / row.recipe / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        print(row.name, figures, flush=True)


if __name__ == "__main__":
    main()
