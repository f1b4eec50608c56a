"""The same training from many seeds: how much of a score is luck? And on folds: how good is it?

Linear and two-layer models that share one order of batches train at once (`stack.py`): 128 linear
ones cost about as much as three alone. All others train one after the other, each exactly as it
would alone.

The model of a fold is trained on all images but those of the fold, which then score it: to the bit
as `train` would on the tree that `data split --folds` writes for it. So every image is predicted
once, by a model that has not seen it.
"""

import math
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mnistlab.data.batches import count_batches
from mnistlab.errors import DivergedError, RunError
from mnistlab.experiment import SAVE_EVERY, Experiment, run_epochs
from mnistlab.files import remove, write_csv, write_whole
from mnistlab.losses import predictions, probabilities, targets_for
from mnistlab.names import printable
from mnistlab.optim import new_optimizer
from mnistlab.processes import ALONE
from mnistlab.records import Best, EpochRow, Result, SeedRow
from mnistlab.storage import copied, read_tensors, save_model, weights_sha256, write_tensors
from mnistlab.studies.stack import Stack, train_stack, wide_loss
from mnistlab.training import Place, check_model, compute_logits, mean_over_images

Row = dict[str, Any]


@dataclass
class SeedResult:
    """One seed: its epochs, and its weights after the last one it finished.

    `diverged` says what happened if its loss stopped being a finite number.
    """

    seed: int
    epochs: list[EpochRow] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    diverged: str | None = None

    @property
    def accuracy(self) -> float:
        """Accuracy after the last epoch, 0…1."""
        return self.epochs[-1].accuracy

    def as_seed_row(self) -> SeedRow:
        """What `run.json` says of it."""
        last = self.epochs[-1].model_dump() if self.epochs else {}
        best = max(self.epochs, key=lambda row: row.accuracy, default=None)
        return SeedRow(
            seed=self.seed,
            **{key: last.get(key) for key in ("train_loss", "valid_loss", "accuracy")},
            best=Best(epoch=best.epoch, accuracy=best.accuracy) if best else None,
            weights_sha256=weights_sha256(self.weights) if self.weights else None,
            diverged=self.diverged,
        )


def band(results: Sequence[SeedResult], epoch: int) -> Row:
    """How accuracy and losses spread over the seeds after `epoch`, without the diverged ones."""
    rows = [result.epochs[epoch] for result in results if len(result.epochs) > epoch]
    return {
        "epoch": epoch,
        "n": len(rows),
        "train_loss": statistics.fmean(row.train_loss for row in rows) if rows else None,
        "valid_loss": statistics.fmean(row.valid_loss for row in rows) if rows else None,
        **spread([row.accuracy for row in rows]),
        "seconds": round(sum(row.seconds for row in rows), 6),
    }


def spread(values: list[float]) -> Row:
    """Mean, sample standard deviation (n - 1; 0 for a single value), smallest and largest."""
    if not values:
        return dict.fromkeys(("mean", "sd", "min", "max"))
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }


@dataclass
class SeedStudy:
    """Training from the seeds `seed … seed + seeds - 1` of an experiment's config, or on its folds.

    Folds are trained and saved like seeds; `seed` of a result is then its fold, 0 to K - 1.

    `place` is where the seed under way stands (all of them, if they train at once); `results` has
    the finished ones in their order (if they train at once, all after their last finished epoch).
    `probabilities`, of folds only, is float64 (n, C): of every class for each image of the folds,
    by the model of the fold that it is in; NaN where there is none.
    """

    experiment: Experiment
    place: Place = field(default_factory=Place)
    results: list[SeedResult] = field(default_factory=list)
    under_way: int = 0
    finished: bool = False
    probabilities: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def kind(self) -> str:
        """What a model is told apart by."""
        return "fold" if self.experiment.folds else "seed"

    @property
    def seeds(self) -> range:
        """All seeds, or folds, of the study."""
        config = self.experiment.config
        first, n = (0, config.folds) if config.folds else (config.seed, config.seeds)
        return range(first, first + n)

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

        Ends early when `stop()` is true, with the seeds, or the epochs of all, that are finished.
        A seed that diverges does not end the others. Raises RunError if a save fails.
        """
        wide, run = self.experiment.config.is_wide, self.experiment.run
        saved_at = time.monotonic()
        try:
            for row in self._train_at_once(stop) if wide else self._train_in_turn(stop):
                yield row
                if time.monotonic() - saved_at > SAVE_EVERY:
                    self.save("running")
                    saved_at = time.monotonic()
            status = "done" if self.finished else "stopped"
            self.save("diverged" if self.results and not self.done else status)
        except OSError as error:
            where = printable(run.path) if run else "a temporary file"
            again = f"mnistlab train --resume {printable(run.reference)}" if run else "once more"
            raise RunError(
                f"{where}: the run cannot be saved: {error.strerror or error}; each {self.kind} "
                f"that is done is kept; when this is mended: {again}"
            ) from error
        if self.finished and run:
            remove(run.models_folder)

    def _train_in_turn(self, stop: Callable[[], bool]) -> Generator[Row]:
        team, run = self.experiment.team, self.experiment.run
        team.asked = stop
        if folds := self.experiment.folds:
            shape = len(folds.images.ds), len(self.experiment.card.classes)
            self.probabilities = torch.full(shape, torch.nan, dtype=torch.float64)
        with TemporaryDirectory() as temporary:
            folder = run.models_folder if run else Path(temporary)
            folder.mkdir(exist_ok=True)
            files = {n: folder / f"{n}.safetensors" for n in self.seeds}
            # without those of a study that was interrupted
            to_do = team.share([n for n, file in files.items() if not file.exists()])[0]
            own = to_do[team.rank :: team.size]
            others = [n for n in to_do if n not in own] if team.rank == 0 else []
            while not team.stop_wanted():
                yield from self._rows(files)
                if not own and not others:
                    break
                if own:
                    if not self._train_one(own[0], files[own[0]]):
                        break  # stopped: what this seed has done so far is no result
                    if team.rank > 0:
                        team.put(f"model {own[0]}", files[own[0]].read_bytes())
                for number in filter(lambda n: team.has(f"model {n}"), others):
                    write_whole(files[number], team.get(f"model {number}"))
                own, others = own[1:], [n for n in others if not files[n].exists()]
                time.sleep(0 if own else 0.01)
            yield from self._rows(files, gaps=True)

    def _train_one(self, number: int, file: Path) -> bool:
        """Train the model of one seed or fold and write what came out; False if it was stopped."""
        self.under_way, self.place = number, Place(stop=self.experiment.team.stop_wanted)
        experiment, seed = replace(self.experiment, team=ALONE), number
        if experiment.folds:
            experiment, seed = of_fold(experiment, number), experiment.config.seed
        model = experiment.draw(seed)
        opt = new_optimizer(experiment.config, model, experiment.card.sources)
        epochs, diverged = list[dict[str, Any]](), None
        try:
            for metrics in run_epochs(experiment, model, opt, seed, self.place):
                epochs.append(metrics.as_row().model_dump())
        except DivergedError as error:
            diverged = str(error)
        if diverged is None and self.place.epoch < experiment.config.epochs:
            return False
        tensors = {f"model.{name}": tensor for name, tensor in copied(model.state_dict()).items()}
        if experiment.folds:
            images = experiment.data.valid_ds.tensors[0].to(experiment.device)
            tensors["probabilities"] = probabilities(compute_logits(model, images).double())
        write_tensors(file, tensors, {"epochs": epochs, "diverged": diverged})
        return True

    def _rows(self, files: Mapping[int, Path], gaps: bool = False) -> Generator[Row]:
        """Take the new results from their files, in order; a row each. gaps: also after a gap."""
        for number in list(self.seeds)[len(self.results) :]:
            if not files[number].exists():
                if gaps:
                    continue
                return
            tensors, content = read_tensors(files[number])
            if self.experiment.folds:
                places = self.experiment.folds.rows(number, "valid")
                self.probabilities[places] = tensors.pop("probabilities")
            weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
            rows = [EpochRow(**row) for row in content["epochs"]]
            result = SeedResult(number, rows, weights, content["diverged"])
            self.results.append(result)
            self.finished = len(self.results) == len(self.seeds)
            seconds = round(sum(row.seconds for row in rows), 6)
            yield {self.kind: number, **result.as_seed_row().model_dump(), "seconds": seconds}

    def _train_at_once(self, stop: Callable[[], bool]) -> Generator[Row]:
        config, card = self.experiment.config, self.experiment.card
        train_ds, valid_ds = self.experiment.on_device()
        stack = Stack([self.experiment.draw(seed) for seed in self.seeds])
        results = [SeedResult(seed) for seed in self.seeds]
        self.place = Place(stop=stop)
        started = time.perf_counter()
        epochs = train_stack(
            stack,
            new_optimizer(config, stack),
            train_ds,
            valid_ds,
            epochs=config.epochs,
            batch_size=config.batch_size,
            order_seed=config.order_of(config.seed) if config.shuffle else None,
            loss_func=self.experiment.train_loss(),
            n_classes=len(card.classes),
            place=self.place,
        )
        for epoch, (batch_losses, logits) in enumerate(epochs):
            seconds = time.perf_counter() - started
            labels = valid_ds.tensors[1]
            losses = mean_over_images(batch_losses.cpu(), len(train_ds), config.batch_size)
            with torch.no_grad():
                targets = targets_for(labels, len(card.classes))
                valid_losses = wide_loss(card.loss_func(), logits, targets).tolist()
            # the logits of every model below one another, as `predictions` takes them
            columns = logits.reshape(len(labels) * len(results), -1)
            predicted = predictions(columns).reshape(len(labels), -1)
            correct = (predicted == labels.unsqueeze(1)).sum(0).tolist()
            figures = zip(results, losses.tolist(), valid_losses, correct, strict=True)
            for index, (result, train_loss, valid_loss, n_correct) in enumerate(figures):
                if not math.isfinite(train_loss) or not math.isfinite(valid_loss):
                    result.diverged = result.diverged or (
                        f"a loss is no longer a finite number in epoch {epoch} at lr "
                        f"{config.lr:g}; try a lower --lr"
                    )
                if result.diverged is None:
                    row = EpochRow(
                        epoch=epoch,
                        train_loss=train_loss,
                        valid_loss=valid_loss,
                        accuracy=n_correct / len(labels),
                        # a wide step is one step for all: each is charged its share
                        seconds=round(seconds / config.seeds, 6),
                    )
                    result.epochs.append(row)
                    result.weights = stack.state_of(index)
            self.results, self.finished = results, epoch + 1 == config.epochs
            yield band(results, epoch)
            if not self.done:
                return  # not one is left to train
            started = time.perf_counter()

    def check_diverged(self) -> None:
        """Raise DivergedError if some seeds diverged."""
        if lost := [result for result in self.results if result.diverged]:
            numbers = ", ".join(str(result.seed) for result in lost)
            raise DivergedError(
                f"{len(lost)} of {len(self.seeds)} {self.kind}s diverged: {numbers}; the first: "
                f"{lost[0].diverged}"
            )

    def summary(self) -> Row:
        """How the last accuracies spread over the seeds that were trained to their end, ≥ 1."""
        scores = [result.accuracy for result in self.done]
        return {
            "n": len(scores),
            **spread(scores),
            "median": {self.kind: self.median.seed, "accuracy": self.median.accuracy},
            "best": {self.kind: self.best.seed, "accuracy": self.best.accuracy},
            "diverged": [result.seed for result in self.results if result.diverged],
        }

    def save(self, status: str) -> None:
        """Write the run folder: the median seed as `model`, the best as `best`, all metrics.

        At the end also `folds.csv`, what was made of each image. Without a folder nothing is
        written, before there is a result only `status`. Raises OSError.
        """
        run, card = self.experiment.run, self.experiment.card
        if run is None:
            return
        result = self.result() if self.done else None
        if result is not None:
            save_model(run.model_file, self.median.weights, card, result.digest())
            save_model(run.best_file, self.best.weights, card, result.digest())
            run.write_metrics([(one.seed, row) for one in self.results for row in one.epochs])
        run.write_record(self.experiment.record(status, result))
        if (folds := self.experiment.folds) and status != "running":
            shares_of = [f"p_{name}" for name in card.classes]
            predicted = [card.classes[place] for place in self.probabilities.argmax(1).tolist()]
            images, shares = folds.images, self.probabilities.tolist()
            each = zip(images.files, images.labels(), folds.fold_of, predicted, shares, strict=True)
            rows = ([*row, *own] for *row, own in each if own[0] == own[0])  # NaN is not
            write_csv(run.folds_file, ["file", "label", "fold", "predicted", *shares_of], rows)

    def result(self) -> Result:
        """What came out; `epochs` and `weights_sha256` are the median seed's."""
        summary, median, best = self.summary(), self.median, self.best
        last = best.epochs[-1]
        rows, folds = [result.as_seed_row() for result in self.results], None
        if self.experiment.folds:
            folds = [{"fold": row.seed, **row.model_dump(exclude={"seed"})} for row in rows]
        n_epochs = max(len(result.epochs) for result in self.results)
        return Result(
            epochs=median.epochs,
            accuracy=median.accuracy,
            best=Best(epoch=last.epoch, accuracy=last.accuracy, **{self.kind: best.seed}),
            weights_sha256=weights_sha256(median.weights),
            summary=summary,
            seeds=None if folds else rows,
            folds=folds,
            band=[band(self.results, epoch) for epoch in range(n_epochs)],
        )


def of_fold(experiment: Experiment, number: int) -> Experiment:
    """The experiment of one fold."""
    assert experiment.folds is not None
    data, config = experiment.folds.data_of(number), experiment.config
    model = experiment.card.build(config.seed)
    _, least = check_model(model, data.train_ds, len(experiment.card.classes))
    n_batches = count_batches(len(data.train_ds), config.batch_size, least)
    return replace(experiment, data=data, n_batches=n_batches)
