"""What the loss measures, and why the accuracy cannot take its place.

fastbook ch. 4, "The MNIST Loss Function".
"""

from itertools import pairwise

import torch
from torch import Tensor

from mnistlab import Curves, build_model, load_data, mnist_loss
from mnistlab.data.batches import to_float
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true
from mnistlab.losses import targets_for


def accuracy(logits: Tensor, targets: Tensor) -> float:
    return float(((logits > 0) == (targets == 1)).double().mean())


def lesson(seed: int = 0) -> Lesson:
    """`seed` draws the random linear model whose weights are moved."""
    yield Say("""Setup: three predictions by hand, then a random linear model on all 3s and 7s. What
        does the loss measure, and why is it not the accuracy? Three images, of which the first and
        the last are 3s, and what a model thinks:""")
    targets = torch.tensor([1.0, 0.0, 1.0])
    probs = torch.tensor([0.9, 0.4, 0.2])
    errors = torch.where(targets == 1, 1 - probs, probs)
    yield check("how far off each one is", errors, [0.1, 0.4, 0.8], within=1e-6)
    yield check("their mean is the loss", errors.mean(), 0.4333, within=0.00005)
    probs[2] = 0.8
    errors = torch.where(targets == 1, 1 - probs, probs)
    yield check("with 0.8 for the last, it is lower", errors.mean(), 0.2333, within=0.00005)

    yield Say("""That needs numbers from 0 to 1. A linear model gives any number, its logit; for a
        logit of 5, `1 - 5` would be an error of -4. So mnist_loss takes a sigmoid first.""")
    targets = torch.tensor([[1.0], [0.0], [1.0]])
    logits = torch.tensor([[0.9], [0.4], [0.2]]).logit()  # the sigmoid gives 0.9, 0.4, 0.2 again
    yield check("mnist_loss of logits", mnist_loss(logits, targets), 0.4333, within=0.00005)
    line = torch.linspace(-6, 6, 121)
    probs = line.sigmoid()
    same = torch.equal(line > 0, probs > 0.5)
    yield check_true("above 0 as a logit is above 0.5 as a probability: a 3", same)
    lines = {
        _("a 3"): (line.tolist(), (1 - probs).tolist()),
        _("a 7"): (line.tolist(), probs.tolist()),
    }
    yield Curves(_("The loss of one image by its logit"), lines, "logit", _("loss"))

    yield Say("""Why not simply maximise the accuracy? Take a random linear model and multiply one
        weight by 1.0001; then put it back and try the next. (The very first would prove nothing:
        its pixel is always black. We take those lit in one image of a hundred, or more.)""")
    yield Ask("Of some 500 moved weights, how many does the accuracy feel, and how many the loss?")
    data = load_data()
    images, labels = data.train_ds.tensors
    pixels = to_float(images).flatten(1).double()  # (n, 784); float64 sees the smallest moves
    targets = targets_for(labels, 2).double()  # (n, 1)
    model = build_model("linear", data.image_size, data.classes, seed, init="normal")
    weights, bias = (param.detach().double() for param in model.parameters())  # (784, 1), (1,)
    yield check("the first pixel at its brightest", pixels[:, 0].max(), 0, source="black")
    logits = pixels @ weights + bias
    before, loss = accuracy(logits, targets), mnist_loss(logits, targets)
    lit = ((pixels > 0).double().mean(0) >= 0.01).nonzero().flatten().tolist()
    after, change = {}, {}
    for j in lit:
        # The logits change by pixel x change of the weight; the other weights stay.
        moved = logits + pixels[:, j : j + 1] * (weights[j] * 0.0001)
        after[j] = accuracy(moved, targets)
        change[j] = float(mnist_loss(moved, targets) - loss)
    same_accuracy = [j for j in lit if after[j] == before]
    title = N_("of {n} weights, those that leave the accuracy as it was")
    yield Show(title, len(same_accuracy), n=len(lit))
    yield check_true("the accuracy ignores most of them", len(same_accuracy) > 0.75 * len(lit))
    yield check_true("the loss feels every one of them", all(change[j] != 0 for j in lit))
    j = max(same_accuracy, key=lambda j: abs(change[j]))  # of those, the one the loss feels most
    yield check("accuracy after, and before", after[j], before, source="the model before the move")
    yield Show("the loss, and its change by the same move", [loss, change[j]])

    yield Say("Now move that weight on, step by step, and count both in images.")
    moves, n = [step / 2000 for step in range(-100, 101)], len(targets)
    wrong, losses = [], []
    for move in moves:
        moved = logits + move * pixels[:, j : j + 1]
        wrong.append(round((1 - accuracy(moved, targets)) * n))
        losses.append(float(mnist_loss(moved, targets)) * n)
    lines = {
        _("images wrong"): (moves, [count - wrong[100] for count in wrong]),  # moves[100] is 0
        _("mnist_loss x images"): (moves, [loss - losses[100] for loss in losses]),
    }
    title, x_label = _("A staircase and a slope"), _("change of one weight")
    yield Curves(title, lines, x_label, _("change, in images"))
    jumps = sum(a != b for a, b in pairwise(wrong))
    changes = sum(a != b for a, b in pairwise(losses))
    yield check("of 200 moves, those that change the loss", changes, 200, source="all of them")
    yield Show("and those that change the accuracy", jumps)
    yield check_true("the accuracy stands still at more than half of them", jumps < 100)

    yield Say("""A staircase is flat between its jumps, so its gradient says nothing: autograd will
        not differentiate `>` at all, and through `round` its result is exactly 0 for every
        weight.""")
    weights.requires_grad_()
    logits = pixels @ weights + bias
    yield check_true("`logits > 0` has no gradient", not (logits > 0).double().requires_grad)
    error_rate = (logits.sigmoid().round() - targets).abs().mean()
    (flat,) = torch.autograd.grad(error_rate, weights, retain_graph=True)
    yield check("weights with a gradient, by accuracy", flat.count_nonzero(), 0, source="flat")
    (slope,) = torch.autograd.grad(mnist_loss(logits, targets), weights)
    count = int(slope.count_nonzero())
    title = N_("by mnist_loss {count}: all but those of black pixels")
    yield check_true(title, count > 600, count=count)
    yield Say("""Now change this: multiply each weight by 1.01, not by 1.0001 (`* 0.01`). How many
        of them does the accuracy feel now?""")
