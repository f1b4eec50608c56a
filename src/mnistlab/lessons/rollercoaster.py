"""Gradient descent in seven named steps: the speed of a roller coaster over a hump.

They are the steps that every training in this project repeats. fastbook ch. 4, "An End-to-End SGD
Example".
"""

from itertools import pairwise

import torch
from torch import Tensor

from mnistlab import Curves
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true

TIME = torch.arange(20.0)
LR = 1e-5
CHAPTER_SEED = 42  # the draw behind the chapter's figures
CHAPTER_LOSSES = [5435.54, 1577.45, 847.38, 709.22, 683.08, 678.12, 677.18, 677.00, 676.96, 676.95]


def measure(generator: torch.Generator) -> Tensor:
    """The measured speed at each second: a parabola and noise. (20,)"""
    return torch.randn(20, generator=generator) * 3 + 0.75 * (TIME - 9.5) ** 2 + 1


def parabola(params: Tensor) -> Tensor:
    """The model. params: (a, b, c) -> the speed at each second, (20,)."""
    a, b, c = params.unbind()
    return a * TIME**2 + b * TIME + c


def descend(params: Tensor, speed: Tensor, steps: int) -> tuple[list[float], list[Tensor]]:
    """The loss before each step and after the last, and the predictions that it judges."""
    params = params.clone().requires_grad_()
    losses, fits = [], []
    while True:
        preds = parabola(params)  # 2 predict
        loss = torch.mean((preds - speed) ** 2)  # 3 loss; its root, in the chapter's text alone
        losses.append(loss.item())
        fits.append(preds.detach())
        if len(losses) > steps:  # 7 stop
            return losses, fits
        loss.backward()  # 4 gradient
        assert params.grad is not None
        params.data -= LR * params.grad  # 5 step
        params.grad = None
        # 6 repeat


def picture(title: str, speed: Tensor, fit: Tensor) -> Curves:
    """The measured points and the fitted parabola."""
    lines = {_("fit"): (TIME.tolist(), fit.tolist())}
    dots = {_("measured"): (TIME.tolist(), speed.tolist())}
    return Curves(title, lines, _("seconds"), _("speed"), dots, y_range=(-20, 100))


def lesson(seed: int = 0) -> Lesson:
    """Seven steps on the measurements of `seed`, then the chapter's ten figures."""
    generator = torch.Generator().manual_seed(seed)
    speed = measure(generator)
    yield Say("""Setup: the speed of a roller coaster at 20 seconds, with noise; the model is a
        parabola a t^2 + b t + c. Which a, b and c fit? Step 1, initialise: three random numbers are
        a model already, only a bad one.""")
    params = torch.randn(3, generator=generator)
    yield Show("a, b, c", params)
    losses, fits = descend(params, speed, steps=10)
    yield Say("""Step 2, predict. Step 3, loss: how bad is it? Step 4, gradient: which way is down?
        Step 5, step: go there, a little. Step 6, repeat. Here are the first four fits.""")
    for number, fit in enumerate(fits[:4], start=1):
        title = _("Fit {number} of 4, loss {loss:.0f}")
        yield picture(title.format(number=number, loss=losses[number - 1]), speed, fit)
    yield Say("Step 7, stop: the chapter does after ten steps, when little changes any more.")
    yield Show("the loss before the first step and after each of the ten", losses)
    gains = [earlier - later for earlier, later in pairwise(losses)]
    yield check_true("each step gains something", min(gains) > 0)
    yield check_true("the last one less than 0.1 %", gains[-1] < losses[-1] / 1000)
    yield picture(_("Points and fit after ten steps"), speed, fits[-1])

    text = N_("The chapter printed ten losses; torch's seed {seed} draws its numbers.")
    yield Say(text, seed=CHAPTER_SEED)
    generator = torch.Generator().manual_seed(CHAPTER_SEED)
    chapter_speed = measure(generator)
    ten = descend(torch.randn(3, generator=generator), chapter_speed, steps=10)[0]
    yield check("its loss after each of ten steps", ten[1:], CHAPTER_LOSSES, within=0.005)

    yield Ask("The loss hardly changes any more. Is it at its lowest?")
    yield Say("""Why did each of its steps gain 0.189 times what the one before gained? The loss is
        a bowl, and its curvatures depend on the times alone. In each of three directions a step
        multiplies the distance from the bottom by 1 - lr * curvature, so every loss can be computed
        beforehand.""")
    powers = torch.stack([TIME**2, TIME, torch.ones(20)], dim=1).double()  # (20, 3)
    curvatures, directions = torch.linalg.eigh(2 * powers.T @ powers / 20)
    bottom = torch.linalg.lstsq(powers, speed.double()[:, None]).solution[:, 0]  # the best a, b, c
    lowest = torch.mean((powers @ bottom - speed) ** 2).item()
    yield Show("the three curvatures", curvatures)
    ratio = (CHAPTER_LOSSES[1] - CHAPTER_LOSSES[2]) / (CHAPTER_LOSSES[0] - CHAPTER_LOSSES[1])
    steepest = (1 - LR * curvatures[-1]) ** 2
    yield check("in the steepest, squared", ratio, steepest, within=1e-4, source="(1 - lr * c)^2")
    away = directions.T @ (params - bottom)  # distance from the bottom in each direction
    height = [curvatures / 2 * ((1 - LR * curvatures) ** k * away) ** 2 for k in range(11)]
    over = [loss / (lowest + h.sum().item()) for loss, h in zip(losses, height, strict=True)]
    yield check("our losses over those foretold", over, [1.0] * 11, within=1e-4, source="the bowl")
    later = descend(params, speed, steps=100)[0][-1]
    yield Show("loss after 100 steps, and at the bottom", [later, lowest])
    yield check_true("it levelled off far above the bottom", later > 3 * lowest)
    yield Say("What is left lies along the flat directions, at this rate thousands of steps away.")
    yield Say("""Now change this: `LR = 4e-5`. Does the loss still fall? The steepest curvature says
        it beforehand.""")
