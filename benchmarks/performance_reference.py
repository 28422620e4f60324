"""The reference implementation, used as its documentation shows it, and as a script from a picture file to a mask file.

    python benchmarks/performance_reference.py MODEL PICTURE PROMPT MASK.png

It imports nothing of ours. What a careful user does is done: the model is loaded once and in evaluation mode, no graph
is kept for gradients, and no more rows go through it at once than there is memory for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  the name everyone gives it
import transformers
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

ROWS_AT_ONCE = 32  # of a batch; at 352 pixels some 2 GB
THRESHOLD = 0.4  # of the probability; what clipseg has where nobody says


class Reference:
    """A model and its processor, as documented."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.dtype, self.device = dtype, device
        self.processor = CLIPSegProcessor.from_pretrained(folder)
        self.model = CLIPSegForImageSegmentation.from_pretrained(folder, dtype=dtype).eval().to(device)

    def resize(self, side: int) -> None:
        """Let pictures be brought to another size; the model interpolates its table of positions."""
        self.processor.image_processor.size = {"height": side, "width": side}

    def segment(self, image: Image.Image, prompts: Sequence[str]) -> torch.Tensor:
        """A picture and P prompts -> logits (P, h, w): the picture is repeated for each prompt, as documented."""
        return self._asked([image] * len(prompts), text=list(prompts))

    def segment_pictures(self, images: Sequence[Image.Image], prompt: str) -> torch.Tensor:
        """B pictures and a prompt -> logits (B, h, w)."""
        return self._asked(list(images), text=[prompt] * len(images))

    def by_example(self, images: Sequence[Image.Image], example: Image.Image) -> torch.Tensor:
        """B pictures, and an example of what to find in them -> logits (B, h, w)."""
        return self._asked(list(images), visual_prompt=[example] * len(images))

    def similarity(self, image: Image.Image, labels: Sequence[str]) -> torch.Tensor:
        """A picture and P labels -> cosines (P,)."""
        inputs = self.processor(text=list(labels), images=image, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = self.model.clip(**self._given(inputs))
            cosines = output.logits_per_image[0] / self.model.clip.logit_scale.exp()
        return cosines.float().cpu()

    def write_masks(self, pictures: Sequence[Path], prompts: Sequence[str], folder: Path) -> None:
        """Files of pictures -> a PNG for each and each prompt, at the picture's full size."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in pictures:
            with Image.open(path) as file:
                image = file.convert("RGB")
            logits = self.segment(image, prompts)
            for number, one in enumerate(logits):
                full = F.interpolate(one[None, None], size=(image.height, image.width), mode="bilinear")[0, 0]
                inside = (full.sigmoid() > THRESHOLD).numpy()
                Image.fromarray(inside).convert("L").save(folder / f"{path.stem}.{number}.png")

    def _asked(self, images: list[Image.Image], **asked: list[str] | list[Image.Image]) -> torch.Tensor:
        parts = []
        for start in range(0, len(images), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            chosen = {name: values[rows] for name, values in asked.items()}
            texts = {"padding": True} if "text" in chosen else {}
            inputs = self.processor(images=images[rows], **chosen, return_tensors="pt", **texts)
            with torch.inference_mode():
                logits = self.model(**self._given(inputs)).logits
            parts.append(logits.reshape(-1, *logits.shape[-2:]).float().cpu())
        return torch.cat(parts)

    def _given(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the processor made -> the same on the model's device, pixels in the model's type."""
        placed = {name: value.to(self.device) for name, value in inputs.items()}
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in placed.items()}


def main() -> None:
    """From the files named on the command line to a mask."""
    model, picture, prompt, mask, *dtype = sys.argv[1:]
    reference = Reference(Path(model), getattr(torch, dtype[0] if dtype else "float32"))
    path, goal = Path(picture), Path(mask)
    reference.write_masks([path], [prompt], goal.parent)
    (goal.parent / f"{path.stem}.0.png").replace(goal)


if __name__ == "__main__":
    main()
