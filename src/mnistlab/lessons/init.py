"""Where training starts: weights that are zero, equal, too large, or right.

fastbook ch. 4, "Initialize"; the questionnaire asks how weights are drawn, and why so.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mnistlab import Curves, build_model
from mnistlab.language import N_, _
from mnistlab.lessons import kit
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true
from mnistlab.training import evaluate

EPOCHS = 6
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    N_("drawn as nn.Linear does"): lambda param: param,
    N_("all zero"): torch.zeros_like,
    N_("all 0.01"): lambda param: torch.full_like(param, 0.01),
    N_("100 times too large"): lambda param: param * 100,
}


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` draws images and weights. digits: `two` (3 and 7) or `all`."""
    data = kit.images_of(digits)
    setup = N_("""Setup: the same net of two layers, trained {epochs} times through 4,000 images,
        from four different starts. Which of them learn?""")
    yield Say(setup, epochs=EPOCHS)
    yield Ask("What is the loss of a net that knows nothing, and what if it is sure of nonsense?")
    train_ds = kit.part_of(data, 4000, seed)
    lines, losses, accuracies, nets = {}, {}, {}, {}
    ways = {_(name): change for name, change in WAYS.items()}
    right, zero, equal, large = ways
    for name, change in ways.items():
        model = nets[name] = build_model("two-layer", data.image_size, data.classes, seed)
        for param in model.parameters():
            param.data = change(param.data)
        losses[name] = evaluate(model, data.valid_ds, data.classes, kit.loss_of(data)).loss
        rows = kit.trained(model, data, 0.5, EPOCHS, 64, train_ds=train_ds)
        accuracies[name] = rows[-1].accuracy
        lines[name] = (list(range(EPOCHS)), [row.accuracy for row in rows])
    nothing = math.log(len(data.classes))
    yield Show("the loss before the first step", losses)
    yield check("all logits 0: the loss", losses[zero], nothing, within=1e-5, source="ln C")
    yield check("drawn small, nearly the same", losses[right], nothing, within=0.1, source="ln C")
    yield check_true("too large: sure of nonsense, so much worse", losses[large] > 3 * nothing)
    yield Curves(_("Accuracy from four starts"), lines, _("epoch"), _("accuracy"))
    yield Show("accuracy at the end", accuracies)

    yield Ask("Why does a net of zeros not learn?")
    hidden = next(nets[zero].parameters())
    yield Say("""Its hidden units give 0, and so do the weights behind them: no gradient comes
        through. Only the last bias moves.""")
    yield check("hidden weights that moved", int((hidden != 0).sum()), 0, source="gradient 0")
    yield Say("""Where all start equal, all hidden units get the same gradient and stay equal for
        ever: thirty units that do the work of one.""")
    same = next(nets[equal].parameters())
    apart = (same - same[0]).abs().max()
    yield check("how far the 30 units are apart", apart, 0, within=1e-4, source="all the same")
    yield check_true("drawn weights end best", accuracies[right] == max(accuracies.values()))
    yield Say("""Now change this: 10 times too large instead of 100. Does it still learn, and how
        many epochs does it lose?""")
