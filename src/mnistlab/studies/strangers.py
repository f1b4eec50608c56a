"""Images of what is none of the known classes, made without any others: a guard learns from them.

A quarter each: halves of two known images, turned; half a known one and half a stroke of a pen; and
two quarters of strokes. A few come out as a known class; the guard takes these for known.
"""

import math

import torch

SIDE = 28  # pixels, of all images here
_POINTS, _ARCS = 80, 5  # of a stroke
_AT_ONCE = 256  # images: the distances of all points to all pixels then need 64 MB


def strangers(ink: torch.Tensor, seed: int) -> torch.Tensor:
    """As many as there are known images `ink`, float (n, 28, 28) in 0…1, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number, known in enumerate(ink.split(_AT_ONCE)):
        one = known.rot90(1 + number % 3, (1, 2))
        other = known.roll(1, 0).rot90(number % 4, (1, 2)).flip(1)  # of another image
        kind = torch.arange(len(known))[:, None, None] % 4
        strokes = pen_strokes(len(known), generator)
        one, other = torch.where(kind == 3, known, one), torch.where(kind == 3, strokes, other)
        # a line through the image, about the middle: one lies on its one side, other on the other
        angle = torch.rand(len(known), 1, 1, generator=generator) * 2 * math.pi
        shift = torch.rand(len(known), 1, 1, generator=generator) * 0.5 - 0.25
        place = torch.linspace(-1, 1, SIDE)
        side = place * angle.cos() + place[:, None] * angle.sin() > shift
        made.append(torch.where(kind < 2, strokes, torch.where(side, one, other)))
    return torch.cat(made)


def pen_strokes(n: int, generator: torch.Generator) -> torch.Tensor:
    """n strokes of a pen, (n, 28, 28): one to five arcs, some with a corner or a gap between them.

    Along an arc the heading turns evenly: one arc that turns once about is a circle.
    """

    def drawn(low: float, high: float, columns: int = _ARCS) -> torch.Tensor:
        return torch.rand(n, columns, generator=generator) * (high - low) + low

    n_arcs = torch.randint(1, _ARCS + 1, (n, 1), generator=generator)
    arc = (torch.arange(_POINTS) / _POINTS * n_arcs).long()  # of each point: (n, points)
    begins = arc.diff(dim=1, prepend=arc[:, :1]) > 0
    turn = drawn(-1.5 * math.pi, 1.5 * math.pi).gather(1, arc) * n_arcs / _POINTS
    corner = (drawn(-math.pi, math.pi) * (drawn(0, 1) < 0.5)).gather(1, arc) * begins
    heading = drawn(0, 2 * math.pi, 1) + (turn + corner).cumsum(1)
    steps = torch.stack([heading.cos() * drawn(0.5, 1.1, 1), heading.sin()], dim=2)
    at = (steps * drawn(0.4, 1.6).gather(1, arc)[:, :, None]).cumsum(1)  # (n, points, 2): x, y
    at = at - at.mean(1, keepdim=True)
    size = at.square().sum(2).mean(1).sqrt().clamp(min=0.1)
    at = at * (drawn(5, 9.5, 1) / size[:, None])[:, :, None] + (SIDE - 1) / 2
    lifted = (drawn(0, 1) < 0.15).gather(1, arc) & (arc > 0)
    at = at + 1000 * lifted[:, :, None]  # far from every pixel
    pixels = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).flip(1).float()
    distance = torch.cdist(pixels, at).amin(2).reshape(n, SIDE, SIDE)
    return (drawn(0.5, 1.8, 1)[:, :, None] + 0.5 - distance).clamp(0, 1)
