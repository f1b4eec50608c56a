"""Nine classic mistakes, each trained beside a control that differs in that one respect.

fastbook ch. 4; the remedies are the lines of its training loop.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from mnistlab import BasicOptim, Curves, build_model, load_data, mnist_loss
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Check, Lesson, Say, Show, check, check_true, refusal, trained
from mnistlab.losses import Loss, binary_cross_entropy
from mnistlab.metrics import EpochMetrics

History = list[EpochMetrics]


def beside(story: str, mistake: History, control: History, figure: str = "accuracy") -> Lesson:
    """`story` ("name: what happens"), then both curves of `accuracy` or `valid_loss`."""
    said = Say(story)
    yield said
    name = {"accuracy": _("accuracy"), "valid_loss": _("validation loss")}[figure]
    lines = {}
    for who, history in ((_("mistake"), mistake), (_("control"), control[: len(mistake)])):
        values = [float(getattr(epoch, figure)) for epoch in history]
        lines[who] = ([*range(len(values))], values)
        yield Show("{name}, {who}", [round(value, 4) for value in values], name=name, who=who)
    title = re.split("[:\uff1a]", said.text)[0]  # Chinese has a wide colon
    yield Curves(title, lines, _("epoch"), name)


def less(title: str, low: float, high: float, source: str = "the control") -> Check:
    """The statement low < high, with both figures."""
    return Check(_(title), low, _("less than {high:.4f}").format(high=high), low < high, source)


class NeverClears(BasicOptim):
    def zero_grad(self) -> None:
        pass


def error_rate(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.sigmoid().round() - targets).abs().mean()


def unguarded(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.sigmoid() - targets.flatten()).abs().mean()  # (256, 1) - (256,) is (256, 256)


def lesson(seed: int = 0) -> Lesson:
    """`seed` draws the weights and the batches of every run."""
    data = load_data()
    yield Say("""Setup: the linear model and one of two layers on the 3s and 7s, each trained twice
        for up to ten epochs: with a mistake, and as it should be. What does each mistake cost?""")
    yield Ask("Nine mistakes: which of them stop the training, and which cost next to nothing?")

    def new(name: str = "linear") -> nn.Module:
        """A new model; every call draws the same weights."""
        return build_model(name, data.image_size, data.classes, seed)

    def train(
        model: nn.Module, lr: float, epochs: int, loss: Loss = mnist_loss, **options: Any
    ) -> History:
        """Train `model` in place, in the same batches of 256."""
        return trained(model, data, lr, epochs, loss=loss, seed=seed, **options)

    linear = train(new(), 1.0, 10)  # as it should be: rate 1, mnist_loss

    run = train(new(), 1.0, 10, optimizer=NeverClears)
    yield from beside("1. Gradients not cleared: each step repeats all before it.", run, linear)
    yield less("ten epochs leave it behind: accuracy", run[-1].accuracy, linear[-1].accuracy)

    run = train(new(), 1.0, 5, shuffle=False)
    yield from beside("2. Not shuffled: 23 batches of 3s come before the first 7.", run, linear)
    half = run[0].accuracy
    yield less("one epoch leaves it guessing: accuracy", half, 0.6, source="near one half")
    yield less("its five are not worth the first", run[4].accuracy, linear[0].accuracy)

    two_layer = train(new("two-layer"), 0.1, 5, binary_cross_entropy)
    run = train(new("two-layer"), 30.0, 5, binary_cross_entropy)
    story = N_("3. Rate too high: two layers with cross-entropy, at 30 where 0.1 is right.")
    yield from beside(story, run, two_layer, "valid_loss")
    best = min(epoch.valid_loss for epoch in run)
    title = N_("tossing a coin (a loss of ln 2) beats it")
    yield less(title, math.log(2), best, source="its best epoch")

    run = train(new(), 1e-4, 5)
    yield from beside("4. Rate too low: 0.0001, not 1.", run, linear, "valid_loss")
    losses = [epoch.valid_loss for epoch in run]
    yield check_true("every epoch goes the right way", losses == sorted(losses, reverse=True))
    one = linear[0].valid_loss
    yield less("but the first of the control is worth more", one, losses[4], source="five")

    model = new()
    run = train(model, 1.0, 5, error_rate)
    yield from beside("5. Accuracy as the loss: where it is flat nothing moves.", run, linear)
    before, after = new().state_dict(), model.state_dict()
    moved = sum(int((before[name] != after[name]).sum()) for name in before)
    yield check("weights that moved in five epochs", moved, 0, source="gradient 0")

    run = train(new(), 1.0, 5, unguarded)
    story = N_(
        "6. Targets of the wrong shape: each answer is compared with all targets of its batch."
    )
    yield from beside(story, run, linear)
    yield less("it guesses: accuracy", run[-1].accuracy, 0.6, source="near one half")
    refused = "broadcast" in refusal(lambda: mnist_loss(torch.zeros(256, 1), torch.zeros(256)))
    yield check_true("mnist_loss refuses them", refused)

    model = new()
    weights, bias = model.parameters()
    bias.data.zero_()
    run = train(model, 1.0, 5, optimizer=lambda _, lr: BasicOptim([weights], lr))  # not the bias
    yield from beside("7. No bias: with these images it costs next to nothing.", run, linear)
    last, same = run[-1].accuracy, linear[4].accuracy
    yield check("accuracy within one hundredth", last, same, within=0.01, source="the control")
    black = model(torch.zeros(1, 1, 28, 28)).item()
    yield check("but a black image is undecided: its logit", black, 0, source="0 x weights")

    with_relu = train(new("two-layer"), 0.5, 10, binary_cross_entropy)
    first, second = (m for m in new("two-layer").modules() if isinstance(m, nn.Linear))
    model = nn.Sequential(nn.Flatten(), first, second)  # no nn.ReLU() between them
    run = train(model, 0.5, 10, binary_cross_entropy)
    yield from beside("8. No nonlinearity: two layers are one.", run, with_relu, "valid_loss")
    best, without = (min(epoch.valid_loss for epoch in each) for each in (with_relu, run))
    yield less("with a ReLU the lowest loss is lower", best, without, source="without it")
    yield Ask("Two layers without a ReLU between them: what can they do that one cannot?")
    xb = data.valid_ds.tensors[0].flatten(1).double() / 255
    matrix = second.double().weight @ first.double().weight  # (1, 30) @ (30, 784) is (1, 784)
    off = (model(xb) - (xb @ matrix.T + second(first.bias))).abs().max()
    yield check("one matrix gives the same logits", off, 0, within=1e-9, source="no difference")

    model = new()
    model.register_forward_pre_hook(lambda _, args: (args[0] * 255,))  # undoes the division
    run = train(model, 1.0, 5)
    yield from beside("9. Pixels at 0-255: nearly every probability is 0 or 1.", run, linear)
    yield less("accuracy", run[-1].accuracy, linear[4].accuracy)
    loss, errors = run[-1].valid_loss, 1 - run[-1].accuracy
    yield check("so its loss is its share of errors", loss, errors, within=0.002, source="0 or 1")
    yield Say("""Now change this: let `NeverClears` clear every second time. Is half a mistake half
        as bad?""")
