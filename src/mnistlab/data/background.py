"""What stands around the ink of images, if they show ink."""

import torch
from torch import nn

_EVEN = 0.1  # standard deviation of the border, of 0…1
_BARE = 0.1  # of the strongest contrast in an image: what differs less is ground
_FILLED = 0.85  # of a square
_THINGS = 0.75  # of the images: if more have a filled square, they show things, not ink


def even_background(images: torch.Tensor) -> float | None:
    """The mean level along the border of images of ink, uint8 (n, H, W), 0…1; None if it is not
    even, or if what stands on it is no ink.

    It is what a new image must be given around its ink to look like them. MNIST's digits stand on
    black, 0.0; photographs, or clothes that fill the frame, on nothing even; and a photograph of a
    thing on an even ground is not made of strokes.
    """
    images = images[:: max(1, len(images) // 1000)]  # a thousand are enough, in a millisecond
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    border = torch.cat([edge.flatten() for edge in edges]).float() / 255
    if float(border.std(correction=0)) >= _EVEN:
        return None
    ground = round(float(border.mean()), 6)
    some = images[:: max(1, len(images) // 100), None].float() / 255
    contrast = (some - ground).abs()
    marked = (contrast > _BARE * contrast.amax((2, 3), keepdim=True)).float()
    # strokes fill no square of a third of the side; nearly every thing fills one
    square = min(min(some.shape[2:]), max(some.shape[2:]) // 3 + 2)
    filled = nn.functional.avg_pool2d(marked, square, stride=1).amax((1, 2, 3)) > _FILLED
    return None if float(filled.float().mean()) > _THINGS else ground
