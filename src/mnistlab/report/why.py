"""Why this answer? What each pixel adds to the logit of the class that a model names: docs/why.md.

Images here are uint8 (H, W), pictures of them float (H, W).
"""

from itertools import product

import torch
from torch import nn

from mnistlab.data.batches import to_float
from mnistlab.training import compute_logits

GREY = 128  # of the patch: halfway between black and white


def logit_of(logits: torch.Tensor, label: int) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the logit that speaks for the class `label`, (n,)."""
    # one logit for two classes is that of the first; what lowers it speaks for the second
    return logits[:, label] if logits.shape[1] > 1 else logits[:, 0] * (1 - 2 * label)


def gradient_times_input(model: nn.Module, image: torch.Tensor, label: int) -> torch.Tensor:
    """The slope of the logit of `label` at each pixel, times the pixel.

    The slope of a linear model is its weight, so that this is the exact share of each pixel.
    """
    xb = to_float(image[None]).requires_grad_()
    [slope] = torch.autograd.grad(logit_of(model(xb), label).sum(), xb)
    return (slope * xb).detach()[0, 0]


def occlusion(model: nn.Module, image: torch.Tensor, label: int) -> torch.Tensor:
    """What the logit of `label` loses where a grey patch hides the image, mean over the patches.

    A patch is a seventh of the image; the next is half of that on. Zeiler, Fergus, arXiv:1311.2901.
    """
    step = max(1, min(image.shape) // 14)
    corners = [*product(*(range(0, end, step) for end in image.shape))]
    masks = torch.zeros(len(corners), *image.shape)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + 2 * step, x : x + 2 * step] = 1
    hidden = torch.where(masks > 0, GREY, image).byte()
    logits = logit_of(compute_logits(model, torch.cat([image[None], hidden])), label)
    lost: torch.Tensor = torch.tensordot(logits[0] - logits[1:], masks, dims=1)
    return lost / masks.sum(0)
