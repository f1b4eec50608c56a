"""The same training from many seeds: how much of a score is luck?

Linear models that share one order of batches train at once, as one wide matrix (`many.py`); all
others one after the other, each exactly as it would alone.
"""

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import torch
from torch.utils.data import TensorDataset

from mnistlab.checkpoint import save_model, weights_sha256
from mnistlab.errors import DivergedError, RunError
from mnistlab.experiment import SAVE_EVERY, Experiment, copied
from mnistlab.logits import predictions, targets_for
from mnistlab.many import WIDE_LOSSES, ManyMetrics, StackedLinear, train_many
from mnistlab.models import LinearModel
from mnistlab.names import printable
from mnistlab.recipe import new_optimizer, run_epochs
from mnistlab.spread import Row, SeedResult, band, spread
from mnistlab.training import Place, mean_over_images


@dataclass
class SeedStudy:
    """Training from the seeds `seed … seed + seeds - 1` of an experiment's config.

    `place` is where the seed under way stands (all of them, if they train at once); `results` has
    the finished ones in their order (if they train at once, all after the last whole epoch).
    """

    experiment: Experiment
    place: Place = field(default_factory=Place)
    results: list[SeedResult] = field(default_factory=list)
    under_way: int = 0
    finished: bool = False

    @property
    def seeds(self) -> range:
        """All seeds of the study."""
        config = self.experiment.config
        return range(config.seed, config.seed + config.seeds)

    @property
    def done(self) -> list[SeedResult]:
        """The seeds that were trained to their end."""
        return [result for result in self.results if result.diverged is None]

    @property
    def median(self) -> SeedResult:
        """The middle one by last accuracy, of two the lower: a typical result."""
        ranked = sorted(self.done, key=lambda result: (result.accuracy, -result.seed))
        return ranked[(len(ranked) - 1) // 2]

    @property
    def best(self) -> SeedResult:
        """The highest last accuracy; of equals the first seed."""
        return max(self.done, key=lambda result: (result.accuracy, -result.seed))

    def train(self, stop: Callable[[], bool] = lambda: False) -> Generator[Row]:
        """Train all seeds, saving on the way; a row an epoch if they train at once, else a seed.

        Ends early when `stop()` is true, keeping the seeds, or the epochs of all, that are
        finished. A seed that diverges does not end the others. Raises RunError if a save fails.
        """
        train_ds, valid_ds = (
            TensorDataset(*(tensor.to(self.experiment.device) for tensor in ds.tensors))
            for ds in (self.experiment.data.train_ds, self.experiment.data.valid_ds)
        )
        train = self._train_at_once if self.experiment.config.is_wide else self._train_in_turn
        saved_at = time.monotonic()
        for row in train(train_ds, valid_ds, stop):
            yield row
            if time.monotonic() - saved_at > SAVE_EVERY:
                self.save("running")
                saved_at = time.monotonic()
        self.save("diverged" if self.results and not self.done else self._status())

    def _train_in_turn(
        self, train_ds: TensorDataset, valid_ds: TensorDataset, stop: Callable[[], bool]
    ) -> Generator[Row]:
        config, card = self.experiment.config, self.experiment.card
        for seed in self.seeds:
            self.under_way, self.place = seed, Place()
            model = card.build(seed).to(self.experiment.device)
            result = SeedResult(seed)
            rows = run_epochs(
                config, model, new_optimizer(config, model), train_ds, valid_ds, card.classes,
                seed=seed, place=self.place, stop=stop,
            )  # fmt: skip
            try:
                for metrics in rows:
                    result.epochs.append(metrics.as_row())
            except DivergedError as error:
                result.diverged = str(error)
            if result.diverged is None and self.place.epoch < config.epochs:
                return  # stopped: what this seed has done so far is no result
            result.weights = copied(model.state_dict())
            self.results.append(result)
            self.finished = len(self.results) == len(self.seeds)
            yield result.as_row()

    def _train_at_once(
        self, train_ds: TensorDataset, valid_ds: TensorDataset, stop: Callable[[], bool]
    ) -> Generator[Row]:
        config, card = self.experiment.config, self.experiment.card
        models = [card.build(seed) for seed in self.seeds]
        stack = StackedLinear([model for model in models if isinstance(model, LinearModel)])
        stack.to(self.experiment.device)
        found = [SeedResult(seed) for seed in self.seeds]
        started = time.perf_counter()
        for metrics in train_many(
            stack, lambda _: new_optimizer(config, stack), train_ds, valid_ds,
            epochs=config.epochs, batch_size=config.batch_size,
            order_seed=config.order_of(config.seed) if config.shuffle else None,
            loss_func=WIDE_LOSSES[config.loss], n_classes=len(card.classes), place=self.place,
            stop=stop, keep_going=True,
        ):  # fmt: skip
            seconds = time.perf_counter() - started
            rows = self._rows_of(metrics, train_ds, valid_ds, seconds)
            for index, (result, row) in enumerate(zip(found, rows, strict=True)):
                if result.diverged is None and not _is_finite(row):
                    result.diverged = (
                        f"a loss is no longer a finite number in epoch {row['epoch']} at lr "
                        f"{config.lr:g}"
                    )
                if result.diverged is None:
                    result.epochs.append(row)
                    result.weights = stack.state_of(index)
            self.results, self.finished = found, metrics.epoch + 1 == config.epochs
            yield band([result.epochs for result in found], metrics.epoch)
            if not self.done:
                return  # not one is left to train
            started = time.perf_counter()

    def _rows_of(
        self, metrics: ManyMetrics, train_ds: TensorDataset, valid_ds: TensorDataset, took: float
    ) -> list[Row]:
        config = self.experiment.config
        labels, logits = valid_ds.tensors[1], metrics.valid_logits
        targets = targets_for(labels, len(self.experiment.card.classes))
        with torch.no_grad():
            valid_losses = WIDE_LOSSES[config.loss](logits, targets).tolist()
        # every model's logits below one another, as `predictions` takes them
        columns = logits.reshape(-1, 1) if logits.ndim == 2 else logits.flatten(0, 1)
        predicted = predictions(columns).reshape(len(labels), -1)
        right = (predicted == labels.unsqueeze(1)).sum(0).tolist()
        losses = metrics.batch_losses.cpu()
        train_losses = mean_over_images(losses, len(train_ds), config.batch_size).tolist()
        return [
            {
                "epoch": metrics.epoch,
                "train_loss": train_losses[index],
                "valid_loss": valid_losses[index],
                "accuracy": right[index] / len(labels),
                # a wide step is one step for all: each is charged its share
                "seconds": round(took / config.seeds, 6),
            }
            for index in range(config.seeds)
        ]

    def require_done(self) -> None:
        """Raise DivergedError if no seed at all was trained to its end."""
        if not self.done:
            raise DivergedError(
                f"every seed diverged, the first: {self.results[0].diverged}; try a lower --lr"
            )

    def require_all(self) -> None:
        """Raise DivergedError, which names them, if some seeds diverged."""
        lost = [str(result.seed) for result in self.results if result.diverged]
        if lost:
            raise DivergedError(
                f"{len(lost)} of {len(self.seeds)} seeds diverged: {', '.join(lost)}; "
                "the others are saved; try a lower --lr"
            )

    def summary(self) -> Row:
        """How the last accuracies spread over the seeds that were trained to their end, ≥ 1.

        `sd` is the sample standard deviation (n - 1).
        """
        scores = [result.accuracy for result in self.done]
        return {
            "n": len(scores),
            **spread(scores),
            "median": {"seed": self.median.seed, "accuracy": self.median.accuracy},
            "best": {"seed": self.best.seed, "accuracy": self.best.accuracy},
            "diverged": [result.seed for result in self.results if result.diverged],
        }

    def _status(self) -> str:
        return "done" if self.finished else "stopped"

    def save(self, status: str) -> None:
        """Write the run folder: the median seed as `model`, the best as `best`, all metrics.

        Without a folder nothing is written, before there is a result only `status`. Raises
        RunError.
        """
        if self.experiment.run is None:
            return
        run, card = self.experiment.run, self.experiment.card
        info = self.experiment.info(status)
        try:
            if not self.done:
                run.write_info(info)
                return
            info["result"] = self.result()
            save_model(run.model_file, self.median.weights, card)
            save_model(run.best_file, self.best.weights, card)
            rows = [{"seed": r.seed, **row} for r in self.results for row in r.epochs]
            run.write_metrics(rows)
            run.write_info(info)
        except OSError as error:
            raise RunError(
                f"{printable(run.path)}: the run cannot be saved: {error.strerror or error}"
            ) from error

    def result(self) -> Row:
        """What came out, as plain data; `epochs` and `weights_sha256` are the median seed's."""
        summary = self.summary()
        return {
            "epochs": self.median.epochs,
            "accuracy": self.median.accuracy,
            "best": {"epoch": self.best.epochs[-1]["epoch"], **summary["best"]},
            "weights_sha256": weights_sha256(self.median.weights),
            "summary": summary,
            "seeds": [result.as_dict() for result in self.results],
            "band": [
                band([result.epochs for result in self.results], epoch)
                for epoch in range(max(len(result.epochs) for result in self.results))
            ],
        }


def _is_finite(row: Row) -> bool:
    return math.isfinite(row["train_loss"]) and math.isfinite(row["valid_loss"])
