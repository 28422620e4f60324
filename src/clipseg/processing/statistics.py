"""Means and standard deviations of pixel channels in [0, 1], red, green, blue, that models are normalised with."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""ImageNet's, which the released CLIPSeg models take although the CLIP under them was trained with OpenAI's."""
IMAGENET_STD = (0.229, 0.224, 0.225)
OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
