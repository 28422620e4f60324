"""CLIPSeg in a Ray Data pipeline of your own: a stage that takes pictures and adds masks.

    python examples/ray_pipeline.py photos masks -p "a cup" -p "a plate" --workers 2

Read, filter, join and write as your pipeline does; `Segment` is all that is ours. It is for people who have such a
pipeline. Who has a folder and wants masks takes `clipseg batch photos -o out -p "a cup" --engine ray`, which can also
be ended and goes on. Needs: pip install 'clipseg[ray]'
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from clipseg import Segmenter


class Segment:
    """An actor: it loads the model and embeds the prompts once, then adds to each batch what they find.

    Pass it what is small, a model's name and texts: Ray sends them to every actor, and again when one is restarted.
    """

    def __init__(self, model: str, prompts: list[str], threshold: float = 0.4) -> None:
        self.ask = Segmenter.from_pretrained(model).asking(prompts, threshold=threshold, batch_size=16)
        self.prompts = prompts

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """{path, bytes} -> {path, height, width, prompt, rle_counts, presence, error}, a row for each picture.

        A picture that cannot be read is an `error`: one that were raised here would end the pipeline.
        """
        rows: list[dict[str, Any]] = []
        for masks in self.ask.each(list(batch["bytes"])):  # each picture is encoded once, for all prompts
            if isinstance(masks, Exception):
                rows.append({"height": 0, "width": 0, "rle_counts": [], "presence": [], "error": str(masks)})
                continue
            height, width = masks.size_hw
            counts = [rle["counts"] for rle in masks.rle()]  # COCO's, of the size (height, width)
            rows.append(
                {
                    "height": height,
                    "width": width,
                    "rle_counts": counts,
                    "presence": masks.scores().tolist(),
                    "error": "",
                }
            )
        columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        return {"path": batch["path"], "prompt": _column([self.prompts] * len(rows)), **columns}


def _column(values: list[Any]) -> Any:
    """Values, perhaps lists of any length -> an array of them as they are."""
    return np.fromiter(values, object, len(values)) if isinstance(values[0], list) else np.array(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="folder or URL of pictures")
    parser.add_argument("out", help="folder or URL for Parquet files")
    parser.add_argument("-p", "--prompt", action="append", required=True)
    parser.add_argument("--model", default="CIDAS/clipseg-rd64-refined")
    parser.add_argument("--workers", type=int, default=1, help="actors that hold the model, at most")
    parser.add_argument("--gpus", type=float, default=0, help="of each actor; 0.5 lets two share one")
    arguments = parser.parse_args()

    import ray.data

    (
        ray.data.read_binary_files(arguments.pictures, include_paths=True)
        .map_batches(
            Segment,
            fn_constructor_kwargs={"model": arguments.model, "prompts": arguments.prompt},
            batch_size=64,
            num_gpus=arguments.gpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=arguments.workers),
        )
        .write_parquet(arguments.out)
    )


if __name__ == "__main__":
    main()
