"""What `mistakes` is made with: training runs from one seed, and two of them side by side."""

from collections.abc import Iterable
from functools import cached_property

from torch import nn

from mnistlab.data.named import load_data
from mnistlab.lessons.kit import Check, Lesson, Say, Show
from mnistlab.losses import Loss, mnist_loss
from mnistlab.metrics import EpochMetrics
from mnistlab.models import build_model
from mnistlab.optim import BasicOptim
from mnistlab.report.pictures import Curves
from mnistlab.training import train_epochs

NAMES = {"accuracy": "accuracy", "valid_loss": "validation loss"}


class Trials:
    """Runs on the bundled images that share a seed: the same first weights, the same batches."""

    def __init__(self, seed: int) -> None:
        self.data = load_data()
        self.seed = seed

    def model(self, name: str = "linear") -> nn.Module:
        """A fresh model; every call draws the same weights."""
        return build_model(name, self.data.image_size, self.data.classes, self.seed)

    def train(
        self,
        model: nn.Module,
        lr: float,
        epochs: int,
        loss_func: Loss = mnist_loss,
        *,
        optimizer: type[BasicOptim] = BasicOptim,
        params: Iterable[nn.Parameter] | None = None,
        shuffle: bool = True,
    ) -> list[EpochMetrics]:
        """Train `model` in place with the project's own loop, in batches of 256."""
        data = self.data
        opt = optimizer(model.parameters() if params is None else params, lr)
        run = train_epochs(
            model,
            opt,
            loss_func,
            data.train_ds,
            data.valid_ds,
            data.classes,
            epochs=epochs,
            shuffle=shuffle,
            seed=self.seed,
        )
        return list(run)

    @cached_property
    def control(self) -> list[EpochMetrics]:
        """The linear model as it should be trained: 10 epochs at rate 1."""
        return self.train(self.model(), 1.0, 10)


def beside(
    story: str, mistake: list[EpochMetrics], control: list[EpochMetrics], figure: str = "accuracy"
) -> Lesson:
    """`story` ("name: what happens"), then both curves of `accuracy` or `valid_loss`."""
    yield Say(story)
    runs = {"mistake": mistake, "control": control[: len(mistake)]}
    found = {who: [float(getattr(epoch, figure)) for epoch in run] for who, run in runs.items()}
    for who, values in found.items():
        yield Show(f"{NAMES[figure]}, {who}", [round(value, 4) for value in values])
    lines = {who: ([*range(len(values))], values) for who, values in found.items()}
    yield Curves(story.split(":")[0], lines, "epoch", NAMES[figure])


def less(title: str, low: float, high: float, source: str = "the control") -> Check:
    """The statement low < high, with both figures."""
    return Check(title, low, f"less than {high:.4f}", low < high, source)
