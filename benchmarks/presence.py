"""Calibrate a model's presence score on held-out synthetic scenes, and say how well it holds on others.

    python benchmarks/presence.py
    python benchmarks/presence.py --model DIR --scenes 300 --write DIR/presence.json

In every scene the names of what it holds are asked for, and as many names of what it does not hold. One half of the
scenes calibrates, the other half, of other seeds, measures: the expected calibration error of the probabilities, and of
the bare scores beside it. No scene is one that training or any other script here draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clipseg.checkpoints.files import write_json
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.masks.presence import Presence
from clipseg.metrics import area_under_roc, calibration_error
from clipseg.segmenter import Segmenter

STREAM = 9_400_000  # first number of every seed here


def scores(segmenter: Segmenter, scenes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of names of things that are in the scenes, and of as many that are not."""
    generator = SceneGenerator(SEEN, SceneOptions(size=segmenter.model.config.vision_config.image_size))
    present, absent = [], []
    for number in range(scenes):
        scene = generator.scene([STREAM, seed, 0, number])
        rng = np.random.default_rng([STREAM, seed, 1, number])
        others = rng.permutation(np.setdiff1d(np.arange(len(SEEN)), scene.kinds))[: len(scene.kinds)]
        names = [generator.pictograms[kind].name for kind in (*scene.kinds, *others)]
        found = segmenter.segment(Image.fromarray(scene.picture), names).scores()
        present.append(found[: len(scene.kinds)])
        absent.append(found[len(scene.kinds) :])
    return torch.cat(present), torch.cat(absent)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", metavar="NAME|DIR")
    parser.add_argument(
        "--scenes", type=int, default=300, metavar="N", help="to calibrate on, and as many to measure on"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where to put the calibration")
    options = parser.parse_args()
    if options.scenes < 1:
        parser.error(f"--scenes is at least 1, got {options.scenes}")
    segmenter = Segmenter.from_pretrained(options.model)
    here = scores(segmenter, options.scenes, options.seed)
    fitted = Presence.fitted(*here)
    present, absent = scores(segmenter, options.scenes, options.seed + 1)
    truth = torch.cat((torch.ones(len(present)), torch.zeros(len(absent)))).bool()
    both = torch.cat((present, absent))
    measured = {
        "on": f"{options.scenes} synthetic scenes of seed {options.seed}, names present and absent alike",
        "names": int(len(here[0]) + len(here[1])),
        "held_out": f"{options.scenes} scenes of seed {options.seed + 1}",
        "held_out_names": len(both),
        "calibration_error": round(calibration_error(fitted.probabilities(both), truth), 4),
        "calibration_error_of_bare_scores": round(calibration_error(both, truth), 4),
        "accuracy_at_a_half": round(float(((fitted.probabilities(both) > 0.5) == truth).double().mean()), 4),
        "auroc": round(area_under_roc(present, absent), 4),
    }
    for name, value in {"slope": round(fitted.slope, 4), "offset": round(fitted.offset, 4), **measured}.items():
        print(f"{name.replace('_', ' '):34} {value}")
    if options.write is not None:
        calibration = Presence(round(fitted.slope, 6), round(fitted.offset, 6), measured)
        write_json(options.write, calibration.to_dict())


if __name__ == "__main__":
    main()
