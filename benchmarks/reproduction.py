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
from typing import TypeAlias

from pages import write_between_marks

from clipseg.analysis.visual_prompts import PAPER_GAINS
from clipseg.data.scene_samples import SceneSamples
from clipseg.evaluation.options import options_for
from clipseg.evaluation.tasks import evaluate
from clipseg.prompting.styles import DEFAULT_STYLE
from clipseg.segmenter import Segmenter
from clipseg.training.recipes import read_recipe
from clipseg.training.run import trainer_of

SIDE = 256  # pixels of scenes and of the models' input
FOLD = 0  # of kinds that no decoder is trained on
SEED = 4_000_000  # of the scenes that are asked about; those trained on have seed 0
SCALED_DOWN = {
    "model.start": "nano",
    "model.decoder_intermediate_size": 256,
    "stages.0.size": SIDE,
    "stages.0.batch": 32,
    "stages.0.crop": False,
    "stages.0.validate_every": 0,
    "precision": "bfloat16",
    "workers": 1,
}
TRAINED_ON = {"kind": "scenes", "size": SIDE, "length": 20_000, "fold": FOLD, "described": 0.3}


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
TASKS = ("referring", "zero_shot", "one_shot", "one_shot_unknown")
Figures: TypeAlias = dict[str, float]
STYLES = ("whole", "crop", "dim", "blur", "blur_highlight", "crop_blur_highlight")


def trained(row: Row, out: Path, steps: int) -> Path:
    """A row -> the folder of its model, trained now unless it is already."""
    data = {**TRAINED_ON, "negatives": row.negatives, "visual": row.visual}
    settings = {**SCALED_DOWN, "model.extract_layers": list(row.layers), "stages.0.steps": steps}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in data.items())
    recipe = read_recipe(row.recipe, [*overrides, f"data={{ {table} }}"])
    folder = trainer_of(recipe, out / row.recipe).fit()
    if folder is None:  # told to stop; the same command goes on
        raise SystemExit(f"{row.recipe} was interrupted")
    return folder


def measured(model: Path, samples: int, style: str) -> Figures:
    """A model's folder -> its figures, in hundredths."""
    segmenter = Segmenter.from_pretrained(model)
    referring = SceneSamples(samples, size=SIDE, described=1.0, seed=SEED)
    apart = SceneSamples(samples, size=SIDE, fold=FOLD, split="test", visual=True, seed=SEED + 1)
    unknown = SceneSamples(samples, size=SIDE, kinds="held-out", visual=True, seed=SEED + 2)
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


def table(rows: Sequence[tuple[Row, Figures]], steps: int, samples: int) -> str:
    """Models and their figures -> Markdown: mIoU and AP in hundredths, beside the paper's of another task."""
    lines = [
        f"{steps} steps of 32 samples each; {samples} samples a task; mean IoU per sample at threshold 0.4 · average",
        "precision of pixels, in hundredths. The paper's are mIoU · AP on PhraseCut, by text and by example.",
        "",
        "| model | recipe | referring | zero-shot | one-shot | one-shot, unknown | paper, text | paper, example |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, figures in rows:
        pairs = [(figures[f"{task}_iou_per_sample_mean"], figures[f"{task}_average_precision"]) for task in TASKS]
        cells = [" · ".join("–" if value is None else f"{value:.1f}" for value in pair) for pair in pairs]
        paper = [" · ".join("–" if v is None else f"{v:.1f}" for v in row.paper[i : i + 2]) for i in (0, 2)]
        lines.append(f"| {row.name} | `{row.recipe}` | {' | '.join([*cells, *paper])} |")
    return "\n".join(lines) + "\n"


def styles_table(model: Path, samples: int) -> str:
    """The folder of the first model -> Markdown: how it fares with examples shown in other styles."""
    segmenter = Segmenter.from_pretrained(model)
    data = SceneSamples(samples, size=SIDE, fold=FOLD, split="test", visual=True, seed=SEED + 1)
    lines = ["How CLIPSeg (PC+) fares where the one example is shown otherwise (mean IoU per sample · AP):", ""]
    lines += ["| style | one-shot | ΔP of plain CLIP in the paper |", "|---|---|---|"]
    for style in STYLES:
        options = options_for("referring", prompt="example", style=style, worst=0)
        found = evaluate("referring", segmenter, data, options).metrics
        pair = f"{100 * found['iou_per_sample_mean']:.1f} · {100 * found['average_precision']:.1f}"
        gain = f"{PAPER_GAINS[style]:.2f}" if style in PAPER_GAINS else "–"
        lines.append(f"| `{style}` | {pair} | {gain} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--steps", type=int, default=600, help="of each model (default: 600)")
    parser.add_argument("--samples", type=int, default=400, help="asked of each task (default: 400)")
    parser.add_argument("--only", nargs="*", help="recipes to do (default: all)")
    parser.add_argument("--markdown", type=Path, help="page with marks to write the tables into")
    given = parser.parse_args(arguments)
    done: list[tuple[Row, Figures]] = []
    for row in ROWS:
        if given.only and row.recipe not in given.only:
            continue
        style = "blur_highlight" if row.recipe == "ablation-highlight" else DEFAULT_STYLE
        model = trained(row, given.out, given.steps)
        done.append((row, measured(model, given.samples, style)))
        print(row.name, done[-1][1], flush=True)
    text = table(done, given.steps, given.samples)
    text += "\n" + styles_table(given.out / done[0][0].recipe / "model", given.samples)
    print(text)
    if given.markdown is not None:
        write_between_marks(given.markdown, text)


if __name__ == "__main__":
    main()
