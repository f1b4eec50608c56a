"""Batches and a `Learner` of one's own: the end of the chapter, and its first task for readers."""

from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from mnistlab.exercises import training
from mnistlab.exercises.kit import Exercise, Tries, sample
from mnistlab.language import N_
from mnistlab.losses import mnist_loss
from mnistlab.optim import BasicOptim
from mnistlab.training import train_epochs


def try_data_loader(DataLoader: Any) -> Tries:  # noqa: N803
    ds = TensorDataset(torch.arange(26), torch.arange(26) * 10)
    dl = DataLoader(ds, 6)
    yield N_("26 items by 6: how many batches"), len(dl)
    for _pass in range(2):
        yield N_("the batches in order"), [list(batch) for batch in dl]
    yield N_("15 items by 5: how many batches"), len(DataLoader(TensorDataset(torch.ones(15)), 5))
    dl = DataLoader(ds, 6, shuffle=True)
    passes = [[torch.cat(part) for part in zip(*dl, strict=True)] for _pass in range(3)]
    numbers = [xs.sort().values for xs, _ys in passes]
    yield N_("shuffled: every item once, sorted again"), numbers
    yield N_("x and y still belong together"), [bool((ys == xs * 10).all()) for xs, ys in passes]
    orders = [list(range(26)), *(xs.tolist() for xs, _ys in passes)]
    yield N_("each pass has another order"), [a != b for a, b in pairwise(orders)]


class RoundedDown(DataLoader[Any]):
    def __len__(self) -> int:
        return len(self.dataset) // (self.batch_size or 1)  # type: ignore[arg-type]


class UsedUp(DataLoader[Any]):
    first_pass: Any = None

    def __iter__(self) -> Any:
        self.first_pass = super().__iter__() if self.first_pass is None else self.first_pass
        return self.first_pass


class TornApart(DataLoader[Any]):
    def __iter__(self) -> Any:
        both = zip(super().__iter__(), super().__iter__(), strict=True)
        return ((xb, yb) for (xb, _), (_, yb) in both)


def shuffled_once(ds: TensorDataset, batch_size: int, shuffle: bool = False) -> Any:
    rows = torch.randperm(len(ds)).tolist() if shuffle else range(len(ds))
    return DataLoader(ds, batch_size, sampler=rows)


data_loader = Exercise(
    task=N_("""Write a `DataLoader`. A loop over it gives batches (xb, yb): the first batch_size
items of the dataset, then the next, and so on; the last batch may be smaller. `len` says how
many batches. It can be used again and again. With shuffle=True every pass has a new random order.
ds.tensors are the tensors of the dataset, of equal length; `len(ds)` is their length."""),
    code="""
class DataLoader:
    def __init__(self, ds, batch_size, shuffle=False): ...
    def __len__(self): ...
    def __iter__(self): ...
""",
    right={"DataLoader": DataLoader},
    scenario=try_data_loader,
    mistakes={
        N_("The last, smaller batch is a batch as well: round up."): RoundedDown,
        N_("It gives batches only once: `__iter__` must start anew."): UsedUp,
        N_("The order is drawn once: draw it in `__iter__`."): shuffled_once,
        N_("x and y are shuffled apart: use one order for both."): TornApart,
    },
    hints=N_("""`__iter__` may be a generator: a function with `yield`.
Make an order first: `torch.arange(n)` or `torch.randperm(n)`; cut it into parts by `split`.
`tensor[rows]` takes these rows; do it for each of ds.tensors, with the same rows."""),
)


def try_learner(Learner: Any) -> Tries:  # noqa: N803
    # as book-linear has them: 256 images each, in the order of the files
    sets = sample().train_ds, sample().valid_ds
    dls = tuple(training.some_batches(slice(None), 256, ds) for ds in sets)
    learner = Learner(dls, training.linear_model(), BasicOptim, mnist_loss)
    yield N_("the accuracies of 2 epochs at rate 0.5"), learner.fit(2, 0.5)
    model = training.linear_model()
    accuracies = Learner(dls, model, BasicOptim, mnist_loss).fit(20, 1.0)
    yield N_("the accuracies of 20 epochs"), accuracies
    yield N_("the weights after 20 epochs"), training.weights_of(model)


class OurLearner:
    """The tool's own loop on the same data; its subclasses make the mistakes."""

    def __init__(self, dls: Any, model: Any, opt_func: Any, loss_func: Any) -> None:
        self.dls, self.model, self.opt_func, self.loss_func = dls, model, opt_func, loss_func

    def fit(self, epochs: int, lr: float) -> list[float]:
        """Train; the accuracy after each epoch."""
        opt, data = self.opt_func(self.model.parameters(), lr), sample()
        sets = data.train_ds, data.valid_ds, data.classes
        rows = train_epochs(self.model, opt, self.loss_func, *sets, epochs=epochs, shuffle=False)
        return [row.accuracy for row in rows]


class OneEpoch(OurLearner):
    def fit(self, epochs: int, lr: float) -> list[float]:
        return super().fit(1, lr)


class BatchMeans(OurLearner):
    def fit(self, epochs: int, lr: float) -> list[float]:
        opt, accuracies = self.opt_func(self.model.parameters(), lr), []
        for _epoch in range(epochs):
            training.train_epoch_of(self.model, opt, self.loss_func, self.dls[0])
            means = [right.float().mean() for right in training.right_in(self.model, self.dls[1])]
            accuracies.append(torch.stack(means).mean().item())
        return accuracies


learner = Exercise(
    task=N_("""Write a `Learner` of your own: with it you have built all of
chapter 4. dls is a pair, the batches of training and of validation, each a list
of (xb, yb). opt_func(params, lr) makes an optimizer, loss_func(model(xb), yb)
is the loss. `fit` trains for `epochs` epochs and returns the list of the
validation accuracies after each: logits above 0 say 3, every image counts once."""),
    code="""
class Learner:
    def __init__(self, dls, model, opt_func, loss_func): ...
    def fit(self, epochs, lr): ...
""",
    right={"Learner": OurLearner},
    scenario=try_learner,
    mistakes={
        N_("The gradients are never cleared: each step repeats all before it."): (
            lambda dls, model, opt_func, loss_func: OurLearner(
                dls, model, training.NeverCleared, loss_func
            )
        ),
        N_("`fit` trains one epoch only: is a `return` inside the loop?"): OneEpoch,
        N_(
            "This is a mean of batch means: images of the last, small batch count more."
        ): BatchMeans,
    },
    hints=N_("""You wrote its parts already: train_epoch and validate_epoch.
Make the optimizer once, at the beginning of `fit`, of `model.parameters()` and lr.
For each epoch: train on dls[0], measure on dls[1], keep the accuracy in a list."""),
    honour=N_("""To the last bit: your weights are those of `mnistlab train --config book-linear`.
You have built chapter 4: your loop and the tool's are the same computation."""),
)
