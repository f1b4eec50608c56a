"""Small shifts, turns and scalings of whole batches, so that no image is seen twice the same.

What is done to a batch is a function of (seed, epoch, position) alone, as its order is: a resumed
run sees the same images.
"""

import hashlib
import math

import torch
from torch.nn.functional import affine_grid, grid_sample

TURN = math.radians(12)  # at most so much, to either side
SCALE = 0.1  # share of the size, of each axis by itself
SHEAR = 0.15
SHIFT = 2 / 28  # share of the frame: two pixels of MNIST's


def augment(xb: torch.Tensor, seed: int, epoch: int, batch: int) -> torch.Tensor:
    """Each image of `xb`, float (b, 1, H, W), moved by an affine map of its own; what is new is 0.

    Bilinear, so levels stay in 0…1.
    """
    mixed = hashlib.sha256(f"augment {seed} {epoch} {batch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:8], "little") >> 1)
    # drawn on the CPU, so that every device sees the same; (6, b), each -1…1
    turn, wide, high, shear, right, down = torch.rand((6, len(xb)), generator=generator) * 2 - 1
    cos, sin = (turn * TURN).cos(), (turn * TURN).sin()
    wide, high, shear = 1 + wide * SCALE, 1 + high * SCALE, shear * SHEAR
    rows = (wide * cos, shear - high * sin, right * 2 * SHIFT)
    below = (wide * sin, high * cos, down * 2 * SHIFT)
    maps = torch.stack([*rows, *below], dim=1).reshape(-1, 2, 3)
    grid = affine_grid(maps.to(xb.device, non_blocking=True), list(xb.shape), align_corners=False)
    return grid_sample(xb, grid, align_corners=False)
