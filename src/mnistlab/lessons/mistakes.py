"""Nine classic mistakes, each trained beside a control that differs in that one thing.

Images, first weights, batches and loop are the same. What the figures show is said, also where a
mistake costs little. fastbook ch. 4; the remedies are the lines of its training loop.
"""

import math

import torch
from torch import Tensor, nn

from mnistlab.lessons.kit import Check, Lesson, check, check_true
from mnistlab.lessons.trials import Trials, beside, less
from mnistlab.losses import binary_cross_entropy, mnist_loss
from mnistlab.optim import BasicOptim


def lesson(seed: int = 0) -> Lesson:
    """`seed` draws the weights and the batches of every run."""
    trials = Trials(seed)
    for mistakes in (in_the_loop, in_the_rate, in_the_loss, in_the_model, in_the_pixels):
        yield from mistakes(trials)


class NeverClears(BasicOptim):
    def zero_grad(self) -> None:
        pass


def in_the_loop(trials: Trials) -> Lesson:
    good = trials.control  # a linear model, rate 1, mnist_loss
    run = trials.train(trials.model(), 1.0, 10, optimizer=NeverClears)
    yield from beside("1. Gradients not cleared: each step repeats all before it.", run, good)
    yield less("ten epochs leave it behind: accuracy", run[-1].accuracy, good[-1].accuracy)

    run = trials.train(trials.model(), 1.0, 5, shuffle=False)
    yield from beside("2. Not shuffled: 23 batches of 3s come before the first 7.", run, good)
    yield less("one epoch leaves it guessing: accuracy", run[0].accuracy, 0.6, "near one half")
    yield less("its five are not worth the first", run[4].accuracy, good[0].accuracy)


def in_the_rate(trials: Trials) -> Lesson:
    good = trials.train(trials.model("two-layer"), 0.1, 5, binary_cross_entropy)
    run = trials.train(trials.model("two-layer"), 30.0, 5, binary_cross_entropy)
    story = "3. Rate too high: two layers with cross-entropy, at 30 where 0.1 is right."
    yield from beside(story, run, good, "valid_loss")
    best = min(epoch.valid_loss for epoch in run)
    yield less("tossing a coin (a loss of ln 2) beats it", math.log(2), best, "its best epoch")

    good, run = trials.control, trials.train(trials.model(), 1e-4, 5)
    yield from beside("4. Rate too low: 0.0001, not 1.", run, good, "valid_loss")
    losses = [epoch.valid_loss for epoch in run]
    yield check_true("every epoch goes the right way", losses == sorted(losses, reverse=True))
    yield less("but the first of the control is worth more", good[0].valid_loss, losses[4], "five")


def error_rate(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.sigmoid().round() - targets).abs().mean()


def unguarded(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.sigmoid() - targets.flatten()).abs().mean()  # (256, 1) - (256,)


def in_the_loss(trials: Trials) -> Lesson:
    model, good = trials.model(), trials.control
    run = trials.train(model, 1.0, 5, error_rate)
    yield from beside("5. Accuracy as the loss: where it is flat nothing moves.", run, good)
    before, after = trials.model().state_dict(), model.state_dict()
    moved = sum(int((before[name] != after[name]).sum()) for name in before)
    yield check("weights that moved in five epochs", moved, 0, source="gradient 0")

    run = trials.train(trials.model(), 1.0, 5, unguarded)
    story = "6. Targets of the wrong shape: each answer is compared with all targets of its batch."
    yield from beside(story, run, good)
    logits, targets = torch.zeros(256, 1), torch.zeros(256)
    pairs = (logits - targets).numel()
    yield check("pairs compared in a batch", pairs, 65536, source="256 x 256")
    yield less("it guesses: accuracy", run[-1].accuracy, 0.6, "near one half")
    said = ""
    try:
        mnist_loss(logits, targets)
    except ValueError as error:
        said = str(error)
    yield Check("mnist_loss refuses them", said, "a ValueError", "broadcast" in said, "its guard")


def in_the_model(trials: Trials) -> Lesson:
    model, good = trials.model(), trials.control
    weights, bias = model.parameters()
    bias.data.zero_()
    run = trials.train(model, 1.0, 5, params=[weights])
    yield from beside("7. No bias: with these images it costs next to nothing.", run, good)
    last, same = run[-1].accuracy, good[4].accuracy
    yield check("accuracy within one hundredth", last, same, within=0.01, source="the control")
    black = model(torch.zeros(1, 1, 28, 28)).item()
    yield check("but a black image is undecided: its logit", black, 0, source="0 x weights")

    good = trials.train(trials.model("two-layer"), 0.5, 10, binary_cross_entropy)
    first, second = (m for m in trials.model("two-layer").modules() if isinstance(m, nn.Linear))
    model = nn.Sequential(nn.Flatten(), first, second)  # no nn.ReLU() between them
    run = trials.train(model, 0.5, 10, binary_cross_entropy)
    yield from beside("8. No nonlinearity: two layers are one.", run, good, "valid_loss")
    best, flat = (min(epoch.valid_loss for epoch in each) for each in (good, run))
    yield less("with a ReLU the lowest loss is lower", best, flat, "without it")
    xb = trials.data.valid_ds.tensors[0].flatten(1).double() / 255
    one = second.double().weight @ first.double().weight  # (1, 30) @ (30, 784) is (1, 784)
    off = (model(xb) - (xb @ one.T + second(first.bias))).abs().max().item()
    yield check("one matrix gives the same logits", off, 0, within=1e-9, source="no difference")


def in_the_pixels(trials: Trials) -> Lesson:
    model, good = trials.model(), trials.control
    model.register_forward_pre_hook(lambda _, args: (args[0] * 255,))  # undoes the division
    run = trials.train(model, 1.0, 5)
    yield from beside("9. Pixels at 0-255: nearly every probability is 0 or 1.", run, good)
    yield less("accuracy", run[-1].accuracy, good[4].accuracy)
    loss, errors = run[-1].valid_loss, 1 - run[-1].accuracy
    yield check("so its loss is its share of errors", loss, errors, within=0.002, source="0 or 1")
