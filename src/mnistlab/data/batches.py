"""Which images are in which batch, as a function of (seed, epoch) alone.

Because an order is computed and not drawn from a running generator, the place of a run is a few
integers, and nothing else that happens (an evaluation, a save) can change training.
"""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import TensorDataset

from mnistlab.errors import ConfigError

EVAL_BATCH = 1024  # images; about 3 MB of floats, which stay in the processor's cache
_EVAL_PIXELS = EVAL_BATCH * 28 * 28


def epoch_order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The shuffled indices 0…n-1 (int64, (n,)) for one epoch."""
    # Hashed, not added: seed + epoch would let seed 0 epoch 1 repeat seed 1 epoch 0.
    mixed = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    # The first 8 bytes as a number of 63 bits, the largest seed that torch takes. A generator of
    # its own: torch's global one stays as it was.
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:8], "little") >> 1)
    return torch.randperm(n, generator=generator)


def count_batches(n: int, batch_size: int, least: int = 1) -> int:
    """How many batches `n` images make; the last one holds what is left.

    least: how few images the model can be trained on, 1 or 2 (`training.check_model`). For 2, an
    image that would be left alone joins the batch before it. Raises ConfigError for batches of 1.
    """
    if n and min(n, batch_size) < least:
        what = "one training image" if n == 1 else f"--batch-size {batch_size}"
        remedy = "add images" if n == 1 else "use 2 or more"
        raise ConfigError(
            f"{what}: the model cannot be trained on one image alone, as its batch norm would see "
            f"a single value of each channel; {remedy}"
        )
    return -(-(n - least + 1) // batch_size)  # -(-a // b) rounds up


def batches(
    ds: TensorDataset,
    batch_size: int,
    order: torch.Tensor | None = None,
    start: int = 0,
    least: int = 1,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield whole batches (xb, yb, …) of `ds`, as many as `count_batches` says.

    `order` None keeps the order of the dataset. `start` skips that many batches.
    """
    # A whole batch is cut out at once. A DataLoader would fetch image by image and stack them
    # again: several times as long for images as small as these.
    n_batches = count_batches(len(ds), batch_size, least)
    for batch in range(start, n_batches):
        end = len(ds) if batch == n_batches - 1 else (batch + 1) * batch_size
        if order is None:
            # a slice is a view: nothing is copied
            yield tuple(tensor[batch * batch_size : end] for tensor in ds.tensors)
        else:
            # index_select copies a uint8 row at a time: ten times the speed of ds[indices]
            indices = order[batch * batch_size : end]
            yield tuple(tensor.index_select(0, indices) for tensor in ds.tensors)


def eval_batch(height: int, width: int) -> int:
    """How many images to evaluate at once: 1,024 of up to 28 x 28 pixels, fewer of larger ones.

    What a net of convolutions has in memory grows with the pixels: 16 photographs of 224 x 224
    need as much as 1,024 digits.
    """
    return max(1, min(EVAL_BATCH, _EVAL_PIXELS // (height * width)))


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 (b, H, W), 0…255 → float32 (b, 1, H, W), 0…1: what every model takes."""
    # unsqueeze: one channel, as for colour images there would be three. 4 bytes a pixel instead of
    # 1, so only one batch is ever a float: 256 images are 0.8 MB.
    # Divided in place: the floats are fresh, and a second tensor of them would cost as much again.
    return images.unsqueeze(1).float().div_(255)


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
    # An affine map is 2 x 3 numbers: each point of the new image is the old one's at
    # (a x + b y + c, d x + e y + f), where x and y go from -1 to 1 over the frame.
    cos, sin = (turn * TURN).cos(), (turn * TURN).sin()
    wide, high, shear = 1 + wide * SCALE, 1 + high * SCALE, shear * SHEAR
    rows = (wide * cos, shear - high * sin, right * 2 * SHIFT)
    below = (wide * sin, high * cos, down * 2 * SHIFT)
    maps = torch.stack([*rows, *below], dim=1).reshape(-1, 2, 3)
    # (b, 2, 3) → (b, H, W, 2): for each pixel of each image where to look, between the pixels
    grid = affine_grid(maps.to(xb.device, non_blocking=True), list(xb.shape), align_corners=False)
    return grid_sample(xb, grid, align_corners=False)
