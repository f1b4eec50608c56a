"""Images that are none of the known ones, made without any other data: what a guard learns from.

Random strokes of a pen, halves of known images turned about, and halves of both joined. A few come
out as a known class; the guard then takes these for known ones.
"""

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

from mnistlab.data.batches import augment

SIDE = 28  # pixels, of all images here
_STEPS = 80  # points of a stroke
_ARCS = 5  # at most
_AT_ONCE = 256  # images, so that the distances of all points to all pixels need 64 MB
_SHARPER = 1.6  # times the contrast: so much of it is lost where an image is scaled


def strangers(ink: torch.Tensor, seed: int, *, pen: bool) -> torch.Tensor:
    """As many images as `ink`, float (n, 28, 28) in 0…1, ink above 0, by chance made of these.

    pen: also strokes of a pen, for ink on an even ground. Each has the place and the size of the
    known image that it stands beside.
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for known in ink.split(_AT_ONCE):
        one, other = (_turned(known[torch.randperm(len(known), generator=generator)], generator)
                      for _ in range(2))  # fmt: skip
        joined = _joined(one, other, generator)
        if pen:
            strokes, more = (pen_strokes(len(known), generator) for _ in range(2))
            kind = torch.randint(4, (len(known), 1, 1), generator=generator)
            half = _joined(known, more, generator)
            joined = torch.where(kind < 2, strokes, torch.where(kind == 2, joined, half))
        made.append(_framed(joined, known))
    return torch.cat(made)


def pen_strokes(n: int, generator: torch.Generator) -> torch.Tensor:
    """Strokes of a pen, (n, 28, 28): arcs one after the other, some with a corner or a gap between.

    Along an arc the heading turns evenly: one arc that turns once about is a circle.
    """

    def drawn(low: float, high: float, columns: int = _ARCS) -> torch.Tensor:
        return torch.rand(n, columns, generator=generator) * (high - low) + low

    n_arcs = torch.randint(1, _ARCS + 1, (n, 1), generator=generator)
    arc = (torch.arange(_STEPS) / _STEPS * n_arcs).long()  # of each step, (n, steps)
    begins = arc.diff(dim=1, prepend=arc[:, :1]) > 0
    turn = drawn(-1.5 * math.pi, 1.5 * math.pi).gather(1, arc) * n_arcs / _STEPS
    corner = (drawn(-math.pi, math.pi) * (drawn(0, 1) < 0.5)).gather(1, arc) * begins
    heading = drawn(0, 2 * math.pi, 1) + (turn + corner).cumsum(1)
    pace = drawn(0.4, 1.6).gather(1, arc)
    x, y = (heading.cos() * pace).cumsum(1) * drawn(0.5, 1.1, 1), (heading.sin() * pace).cumsum(1)
    at = torch.stack([x, y], dim=2)
    at -= at.mean(1, keepdim=True)
    at *= 7 / at.square().sum(2).mean(1).sqrt().clamp(min=0.1)[:, None, None]
    lifted = (drawn(0, 1) < 0.15).gather(1, arc) & (arc > 0)
    at += SIDE / 2 - 0.5 + 1000 * lifted[:, :, None]  # far from every pixel
    pixels = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).flip(1).float()
    distance = torch.cdist(pixels, at).amin(2).reshape(n, SIDE, SIDE)
    return (drawn(0.5, 1.8, 1)[:, :, None] + 0.5 - distance).clamp(0, 1)


def _turned(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each turned by quarters or mirrored or both, then moved as `augment` does."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    parts = [images[i - 1 :: 7].rot90(i % 4, (1, 2)).flip([1] if i > 3 else []) for i in range(1, 8)]
    return augment(torch.cat(parts).unsqueeze(1), seed, 0, 0).squeeze(1)


def _joined(one: torch.Tensor, other: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One on the one side of a line, the other on the other; the line lies by chance."""
    angle = torch.rand(len(one), 1, 1, generator=generator) * 2 * math.pi
    shift = torch.rand(len(one), 1, 1, generator=generator) * 0.5 - 0.25
    place = torch.linspace(-1, 1, SIDE)
    side = place * angle.cos() + place[:, None] * angle.sin() > shift
    return torch.where(side, one, other)


def _framed(images: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`images` moved and scaled so that centre and spread of the ink are those of `like`."""

    def moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share = image.flatten(1) / image.sum((1, 2)).clamp(min=1e-6)[:, None]
        place = torch.linspace(-1, 1, SIDE + 1)[:-1] + 1 / SIDE
        places = torch.cartesian_prod(place, place).flip(1)  # x, y
        centre = share @ places
        spread = (share @ places.square() - centre.square()).sum(1).clamp(min=1e-3).sqrt()
        return centre, spread

    (own, spread), (centre, wanted) = moments(images), moments(like)
    scale = (spread / wanted).clamp(0.3, 3)
    maps = torch.zeros(len(images), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = scale
    maps[:, :, 2] = own - centre * scale[:, None]
    grid = affine_grid(maps, [len(images), 1, SIDE, SIDE], align_corners=False)
    moved = grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)
    return ((moved - 0.5) * _SHARPER + 0.5).clamp(0, 1)
