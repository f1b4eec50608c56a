"""A run as one HTML page: no network, no script, nothing beside the file."""

import base64
import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from PIL import Image
from torch import nn

from mnistlab import __version__
from mnistlab.data.scan import SPLITS
from mnistlab.data.store import Progress
from mnistlab.errors import DataError, RunError
from mnistlab.language import N_, _, language
from mnistlab.metrics import wilson_interval
from mnistlab.models import ModelCard
from mnistlab.names import printable
from mnistlab.records import Result, RunRecord
from mnistlab.report import sources
from mnistlab.report.pictures import Curves, Images, confusion_matrix, reliability_diagram, shrunk
from mnistlab.runs import Run
from mnistlab.scoring import RunScore, open_model, score_run
from mnistlab.storage import weights_sha256
from mnistlab.summaries import result_is_sealed
from mnistlab.system import quoted

_MAX_PIXELS = 240_000  # of all images of one picture
_WIDTH, _HEIGHT = 420, 240  # of a chart: wide enough that its text can be read on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 40
_NAMED = 4  # lines that a legend can tell apart; of more, the first ones
# red and blue of ColorBrewer's RdBu, which colour-blind readers can tell apart too
_MINUS, _PLUS = (33, 102, 172), (178, 24, 43)
# where a setting comes from, as a run records it; flags and files are names
_ORIGINS = (N_("default"), N_("default of {}"), N_("default for {} classes"))


@dataclass(frozen=True)
class Report:
    """All that the page of a run has to show.

    `score` is None where the data of the run cannot be read; `missing` then says why, under `data`.
    """

    run: Run
    best: bool
    record: RunRecord
    model: nn.Module
    card: ModelCard
    score: RunScore | None
    missing: dict[str, str]

    @property
    def result(self) -> Result:
        return self.record.result or Result()

    @property
    def trained(self) -> bool:
        """Whether the model was trained in epochs; a baseline is fitted at once."""
        return self.record.config.applies("epochs")

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best weights; None for a run of several seeds, whose best is a seed."""
        best = self.result.best
        return best.epoch if self.trained and best and not self.result.summary else None


def open_report(
    run: Run,
    settings: Mapping[str, Any] | None = None,
    *,
    split: str = "valid",
    best: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Open a run's model and score it on `split`; `settings` as for `score_run`.

    Without the data of the run there is still a report of what its folder has; data that was asked
    for must be there. Raises RunError, DamagedFileError, DataError, ConfigError.
    """
    model, card = open_model(run, best=best)
    record, score, missing = run.record(), None, {}
    try:
        score = score_run(run, settings, split=split, best=best, progress=progress)
    except (DataError, RunError) as error:
        if (settings or {}).get("data") is not None or split not in SPLITS:
            raise
        missing["data"] = str(error)
    return Report(run, best, record, model, card, score, missing)


def render(report: Report) -> str:
    """The page. It depends on the run and the data alone: the same ones, the same bytes."""
    score, record, result = report.score, report.record, report.result
    data = score.data if score else record.config.data
    weights = sources.weight_images(report.model, report.card)
    charts = sources.curves_of(record)
    if score and score.calibration:
        charts.append(reliability_diagram(score.calibration))
    content = {
        "report": report,
        "record": record,
        "result": result,
        "title": _("{model} on {data}").format(
            model=report.card.model, data=Path(data).name or data
        ),
        "data": data,
        "notes": [note.split("\n") for note in _notes(report)],
        "weights_name": _weights_name(report),
        "headline": _headline(report),
        "evaluation": score.evaluation if score else None,
        "matrix": confusion_matrix(score.evaluation) if score else None,
        "mistakes": tiles(sources.mistake_images(score)) if score else [],
        "samples": _samples(score) if score else {},
        "max_classes": sources.MAX_CLASSES,
        "seed_digits": _digits((result.summary or {}).get("sd") or 0.0),
        "epochs": result.epochs if report.trained else [],
        "charts": [(curves, chart(curves)) for curves in charts],
        "weights": weights,
        "weight_tiles": tiles(weights) if weights else [],
        "commands": _commands(report),
        "sha256": weights_sha256(report.model.state_dict()),
        "version": __version__,
    }
    return _template("page.html.j2", _folders_hidden(report)).render(content) + "\n"


def render_images(title: str, pictures: Sequence[Images]) -> str:
    """A page with nothing but images and what explains them."""
    content = {"title": title, "pictures": [(one, tiles(one)) for one in pictures]}
    return _template("images.html.j2", str).render(content) + "\n"


def render_grades(
    title: str, answers: Mapping[str, Any], runs: Sequence[Any], columns: Sequence[str], rows: Any
) -> str:
    """The page of a class: learner → exercise → answer, its runs as `rows`, all their curves."""
    lines = {
        f"{run.learner}, {run.run.name}": (list(range(len(run.accuracies))), run.accuracies)
        for run in runs
        if len(run.accuracies) > 1
    }
    curves = (
        [Curves("Accuracy of the runs that repeat", lines, "epoch", "accuracy")] if lines else []
    )
    content = {
        "title": title,
        "answers": answers,
        "numbers": list(range(1, 1 + len(next(iter(answers.values()))))),
        "columns": columns,
        "rows": rows,
        "charts": [(one, chart(one)) for one in curves],
    }
    return _template("grade.html.j2", str).render(content) + "\n"


# text


def _template(name: str, hide_folders: Callable[[str], str]) -> Template:
    def text(value: Any) -> Any:
        """Text as it may stand in the page: no control characters, no folders of the machine."""
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return hide_folders(printable(value)) if plain else value

    def breakable(value: Any) -> Markup:
        """A name that may be broken after `/` and `_`; a long one before its ending."""
        ends = r"(?<=[/_])(?=.)|(?<=\w{9})(?=\.[A-Za-z]+$)"
        return Markup(re.sub(ends, "<wbr>", escape(text(str(value)))))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"_": _, "language": language}
    environment.filters |= {
        "origin": _origin,
        "breakable": breakable,
        "count": lambda number: f"{number:,}",
        "loss": lambda value: "" if value is None else f"{value:.3g}",
        "percent": lambda share, digits: f"{100 * share:.{digits}f} %",
    }
    return environment.get_template(name)


def _origin(text: str) -> str:
    """Where the value of a setting comes from, in the chosen language."""
    for known in (*_ORIGINS, N_("that of the run to begin with")):
        if match := re.fullmatch(known.replace("{}", "(.+)"), text):
            return _(known).format(*match.groups())
    return text


def _folders_hidden(report: Report) -> Callable[[str], str]:
    """What leaves the folders of this machine out of a text: the page is for others, too."""
    run = report.run.path.resolve()
    record, config = report.record, report.record.config
    texts = [str(run.parent), record.data.path, report.score.data if report.score else ""]
    texts += [config.data, config.model, config.loss, config.optimizer]
    texts += [*record.command, *record.origins.values()]
    # also of `--data=/a/b` and `config /a/b`
    parts = {part for text in texts for part in (text, re.sub(r"^(config |.*?=)", "", text))}
    folders = {Path(part).parent for part in parts if Path(part).is_absolute()}
    named = [f"{printable(folder)}{os.sep}" for folder in (*folders, run.parent.parent)]
    pattern = "|".join(map(re.escape, sorted(named, key=len, reverse=True)))
    return lambda text: re.sub(pattern, "", text)


def _digits(half_width: float) -> int:
    """Digits of a percentage that is known to within ± `half_width` (a share of 1)."""
    return max(0, -math.floor(math.log10(100 * half_width))) if half_width else 2


def _weights_name(report: Report) -> str:
    """Which weights the page is about; empty for a model that was fitted at once."""
    result, place = report.result, "best" if report.best else "median"
    if several := result.seeds or result.folds:
        number = (result.summary or {})[place]["fold" if result.folds else "seed"]
        name = _("the weights of {kind} {k}, the {place} of {n}").format(
            kind=_("fold") if result.folds else _("seed"),
            place=_("best") if report.best else _("median"),
            k=number,
            n=len(several),
        )
        return name + (_(", on the images of that fold") if result.folds else "")
    if report.best:
        epoch = report.best_epoch
        name = _("the best weights")
        return name if epoch is None else name + _(" (epoch {n})").format(n=epoch)
    return _("the last weights") if report.trained else ""


def _notes(report: Report) -> Iterator[str]:
    """What a reader must know before the figures."""
    if why := report.missing.get("data"):
        text = _(
            "The images cannot be read, so confusion, mistakes and samples are left out; the "
            "figures are those of the run:"
        )
        yield f"{text}\n{why}"
    record, score = report.record, report.score
    if record.status != "done":
        text = _("The training did not come to its end. Its status: {status}.")
        yield text.format(status=record.status)
    if record.mixed:
        yield _(
            "It was trained in parts on machines or thread counts that differ; its last bits "
            "cannot be repeated."
        )
    if not result_is_sealed(report.run, record):
        yield _(
            "The result in run.json is not the one that was sealed with the model: it was edited, "
            "or the model is another one."
        )
    of_all = not record.config.folds  # and not of one fold
    fingerprint = record.data.fingerprint
    if score and of_all and fingerprint and score.data == record.config.data:
        then = fingerprint[:32] if score.split_name == "train" else fingerprint[32:]
        if then != score.split.fingerprint[:32]:
            text = _(
                "The images of {split} have changed since the training: the figures are of the "
                "present ones."
            )
            yield text.format(split=score.split_name)


def _commands(report: Report) -> list[tuple[str, str]]:
    """(what it does, command line): as it was called, and how to do it again."""
    run, record, commands = report.run, report.record, []
    if record.command:
        commands.append((_("As it was called"), quoted("mnistlab", *record.command[1:])))
    if report.trained and run.config_file.is_file():
        again = f"mnistlab train --config {quoted(run.config_file)}"
        commands.append((_("Train it again, every setting the same"), again))
    commands.append((_("Check that it repeats"), f"mnistlab runs verify {run.reference}"))
    best = " --best" if report.best else ""
    return [*commands, (_("Score it"), f"mnistlab eval {run.reference}{best}")]


def _headline(report: Report) -> dict[str, Any] | None:
    """The figures on top: those of the score; without the data, those in `run.json`."""
    loss: float | None
    if report.score:
        evaluation = report.score.evaluation
        correct, n, loss = evaluation.correct, evaluation.n, evaluation.loss
    else:
        result, n = report.result, sum(report.record.data.valid.values())
        figures = result.best if report.best else result
        if figures is None or figures.accuracy is None or not n:
            return None
        rows = [row for row in result.epochs if not report.best or row.epoch == report.best_epoch]
        correct, loss = round(figures.accuracy * n), rows[-1].valid_loss if rows else None
    low, high = wilson_interval(correct, n)
    digits = _digits((high - low) / 2)
    first, last = (f"{100 * share:.{digits}f}" for share in (low, high))
    interval = _("{low} to {high} %").format(low=first, high=last)
    return {"correct": correct, "n": n, "loss": loss, "interval": interval, "digits": digits}


# pictures


def _samples(score: RunScore) -> dict[str, list[dict[str, Any]]]:
    """The tiles of each class; the first line of a name is the class."""
    samples = tiles(sources.sample_images(score.split, score.split_name))
    return {name: list(own) for name, own in groupby(samples, lambda tile: tile["lines"][0])}


def tiles(picture: Images) -> list[dict[str, Any]]:
    """Each image as a PNG inside an address, with the lines of its name and its size.

    Pixel by pixel, unless all together would have more than `_MAX_PIXELS`: then made smaller.
    """
    side = max(8, int((_MAX_PIXELS / max(len(picture.images), 1)) ** 0.5))
    made = []
    for name, levels in picture.levels().items():
        small = shrunk(levels, side, side)
        uri = "data:image/png;base64," + base64.b64encode(png(small, picture.signed)).decode()
        height, width = small.shape
        lines = name.split("\n")
        made.append({"lines": lines, "uri": Markup(uri), "height": height, "width": width})
    return made


def png(levels: torch.Tensor, signed: bool = False) -> bytes:
    """Levels 0…1 (H, W) as a PNG of 8 bits a pixel: grey, or blue and red over nothing.

    The middle of a signed scale is transparent, so that zero has the colour of the page.
    """
    height, width = levels.shape
    pixels = (levels * 255).round().to(torch.uint8).contiguous()
    image = Image.frombytes("P" if signed else "L", (width, height), pixels.numpy().tobytes())
    content, more = io.BytesIO(), {}
    if signed:
        image.putpalette([part for level in range(256) for part in (_MINUS, _PLUS)[level > 127]])
        more["transparency"] = bytes(min(255, abs(2 * level - 255)) for level in range(256))
    image.save(content, "PNG", optimize=True, **more)
    return content.getvalue()


def chart(picture: Curves) -> dict[str, Any]:
    """The shapes of a chart, in the units of its `viewBox`: what the template draws as SVG."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    shapes: dict[str, Any] = {"width": _WIDTH, "height": _HEIGHT, "left": _LEFT}
    shapes |= {"right": right, "bottom": bottom, "bands": [], "lines": [], "dots": []}
    x_axis, y_axis = picture.axes(margin=0.04)

    def place(point: tuple[float, float]) -> tuple[str, str]:
        x = _LEFT + x_axis.position(point[0]) * (right - _LEFT)
        y = bottom - y_axis.position(point[1]) * (bottom - _TOP)
        return f"{x:.2f}", f"{y:.2f}"

    def path(points: Sequence[tuple[float, float] | None]) -> str:
        return " ".join(",".join(place(point)) for point in points if point)

    shapes["x_ticks"] = [(place((x, y_axis.low))[0], f"{x:.10g}") for x in x_axis.ticks()]
    shapes["y_ticks"] = [(place((x_axis.low, y))[1], f"{y:.10g}") for y in y_axis.ticks()]
    for xs, lows, highs in picture.bands.values():
        below, above = ([p for p in picture.points((xs, ys)) if p] for ys in (lows, highs))
        shapes["bands"].append(path(below + above[::-1]))
    kinds = {name: f"k{n}" if n < _NAMED else "rest" for n, name in enumerate(picture.lines)}
    kinds |= dict.fromkeys(picture.bands, "band") | dict.fromkeys(picture.dots, "dot")
    shapes["legend"] = [(kind, name) for name, kind in kinds.items() if kind != "rest"]
    if rest := [*kinds.values()].count("rest"):
        shapes["legend"].append(("rest", f"{rest} more"))
    for name, series in picture.lines.items():
        # the stretches between points without a place, where a line must break off
        stretches = groupby(picture.points(series), key=bool)
        paths = [path([*points]) for drawn, points in stretches if drawn]
        shapes["lines"].append((kinds[name], name, paths))
    shapes["lines"].sort(key=lambda line: line[0] != "rest")  # below the others
    for name, series in picture.dots.items():
        for x, y in filter(None, picture.points(series)):
            text = f"{name}: {y:.4g}, {picture.x_label} {x:.4g}"
            shapes["dots"].append((*place((x, y)), text))
    return shapes
