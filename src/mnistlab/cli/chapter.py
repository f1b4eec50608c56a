"""The chapter: its experiments, its figures beside ours, the score to beat, every model's score."""

import contextlib
import sys
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.errors import CheckError, ConfigError
from mnistlab.language import N_, _, folded, language
from mnistlab.lessons import LESSONS, run_lesson, source_of
from mnistlab.names import printable
from mnistlab.resolving import resolve
from mnistlab.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mnistlab.lessons.kit import Item

WHOSE = N_("""notes: the study notes that this tool reproduces; their figures are equal where the \
random numbers of their notebook are known, those of seed 42. book: the printed book and its \
notebook, whose random numbers are not known. 5% to 95%: the middle of our own seeds; a figure \
is inside of it, or at its edge, or differs from all of them; pct: the share of our seeds at or \
below that of the notes.""")
OWN = N_("""No source prints figures of all ten digits: these are ours. In the chapter's order all \
0s come first and all 9s last: two digits are learned all the same, ten are not.""")
SEEDS_HELP = "Random draws per model.  [default: 128 linear, 24 two-layer; of ten digits 6]"


def lesson(
    out: Output,
    settings: dict[str, Any],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which lesson; without it they are listed.",
            autocompletion=flags.complete_from(lambda: LESSONS),
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="linear|two-layer", help="The model (lesson step).")
    ] = None,
    digits: flags.Digits = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="First the question; Enter shows the figures.")
    ] = False,
    plot: flags.Plot = None,
    code: Annotated[
        bool, typer.Option("--code", help="Print the lesson's source instead of running it.")
    ] = False,
) -> None:
    """Run one of the chapter's experiments.

    Values come with their titles, and every figure is checked; exit 3 if one does not hold.
    """
    own = {"model": model, "digits": digits, **settings}
    given = {key: value for key, value in own.items() if value is not None}
    if name is None:
        if code or ask or plot is not None or given:
            raise ConfigError("name a lesson for these flags; mnistlab lesson lists them")
        out.document({"lessons": [{"name": key, "title": LESSONS[key]} for key in LESSONS]})
        out.result(*(f"{name:<13}  {_(title)}" for name, title in LESSONS.items()))
        out.notice(_("run one with: {command}").format(command="mnistlab lesson pixels"))
        return
    if code:
        source = source_of(name).read_text(encoding="utf-8")
        out.document({"lesson": name, "source": source})
        out.result(source.rstrip("\n"))
        return
    from mnistlab.devices import set_threads
    from mnistlab.lessons.kit import Ask, Check, as_document
    from mnistlab.report.files import chinese_fonts, draw
    from mnistlab.report.pictures import Curves, Images

    set_threads(1)  # its matrices are small
    items = run_lesson(name, **given)
    if plot is not None:
        items = list(items)  # all of them before the first is printed
        pictures = [item for item in items if isinstance(item, Curves | Images)]
        if not pictures:
            raise ConfigError(f"--plot: the lesson {name} has no picture; run it without --plot")
        draw(pictures, plot)
        out.notice(_("drawn  {file}").format(file=printable(plot)))
        if language() != "en" and not chinese_fonts():
            out.notice("no font with Chinese characters is installed here: boxes stand for them")
    document, checks = [], []
    for item in items:
        if isinstance(item, Ask) and not (ask and out.tables):
            continue
        document.append(as_document(item))
        if isinstance(item, Check):
            checks.append(item)
        if out.tables:
            out.result(*rendered(item, out))
        if isinstance(item, Ask) and sys.stdin.isatty() and sys.stdout.isatty():
            with contextlib.suppress(EOFError):
                input(_("Enter shows the figures. "))
    missed = [check.title for check in checks if not check.holds]
    held = len(checks) - len(missed)
    out.document({"lesson": name, "items": document, "checks": len(checks), "held": held})
    out.result(_("{held} of {total} checks hold").format(held=held, total=len(checks)))
    if missed:
        raise CheckError(f"lesson {name}: does not hold: {', '.join(missed)}")


def rendered(item: "Item", out: Output) -> "list[RenderableType]":
    """An item as lines for the terminal, or for a file or pipe (80 columns, no pictures)."""
    from mnistlab.lessons.kit import Ask, Check, Say, Show
    from mnistlab.report.tables import value_text
    from mnistlab.report.terminal import text_picture

    width = min(out.width, 100)
    if isinstance(item, Say):
        mark = "? " if isinstance(item, Ask) else ""
        return ["", *folded(mark + item.text, width)]
    if isinstance(item, Show):
        text, value = f"  {item.title}", value_text(item.value)
    elif isinstance(item, Check):
        text, value = f"  {'ok' if item.holds else 'NO'} {item.title}", value_text(item.ours)
        expected, source = value_text(item.expected), _(item.source)
        if item.expected is True:
            value = ""
        elif "\n" not in value and "..." not in value:
            value += _("  ({source}: {expected})").format(source=source, expected=expected)
        else:  # a matrix or a long series: the expected one only where it differs
            text += _(" (beside {source})").format(source=source)
            value += "" if item.holds else f"\n{source}:\n{expected}"
    elif sys.stdout.isatty():
        console = out.console("stdout")
        blocks = console.color_system is not None and console.encoding.startswith("utf")
        return [text_picture(item, width, blocks=blocks)]
    else:
        return [_("  picture: {title} (--plot FILE draws it)").format(title=item.title)]
    if "\n" in value:  # a matrix stands below its title
        return [_("{title}:").format(title=text), textwrap.indent(value, "    ")]
    text = _("{title}: {value}").format(title=text, value=value) if value else text
    return [*folded(text, width, "     ")]


def reproduce(
    out: Output,
    settings: dict[str, Any],
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=2, max=1024, help=SEEDS_HELP)
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also the residual net (two minutes).")
    ] = False,
    digits: flags.Digits = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every figure, not only a summary.")
    ] = False,
    plot: flags.Plot = None,
) -> None:
    """Compare every figure of the chapter with ours.

    Trains the chapter's models again, from different seeds; exit 3 if a figure differs.
    """
    ten = digits == "all"
    if ten and (full or plot):
        raise ConfigError("--digits all has one table; run it without --full and --plot")
    from mnistlab import reproduction
    from mnistlab.data.named import load_data
    from mnistlab.devices import set_threads
    from mnistlab.lessons.kit import plain
    from mnistlab.report.files import draw
    from mnistlab.report.tables import reproduction_tables
    from mnistlab.ten_digits import ten_digits

    threads = settings["threads"]
    set_threads(1 if threads is None else threads)
    with out.loading() as progress:
        data = load_data("mnist" if ten else "mnist_sample", progress=progress)

    compute = ten_digits if ten else partial(reproduction.reproduce, full=full)
    figures, curves = compute(data, seeds, lambda step: out.notice(f"computing {step}"))
    verdicts = [figure.verdict for figure in figures]
    kinds = ("equal", "inside", "edge", "measured", "differs", "left out")
    counts = {name: verdicts.count(name) for name in kinds}
    rows = [plain(vars(figure)) for figure in figures]
    out.document({"figures": rows, "counts": counts, "holds": not counts["differs"]})
    if out.tables:
        out.notice(*folded(_(OWN if ten else WHOSE), 80), "")
        out.result(*reproduction_tables(figures, everything=everything or ten), "")
    out.result(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if plot is not None:
        draw(curves, plot)
        out.notice(_("drawn  {file}").format(file=printable(plot)))
    if counts["differs"]:
        hint = "; fewer seeds than the default give a narrower range" if seeds and not ten else ""
        raise CheckError(f"{counts['differs']} figure(s) differ from the chapter's{hint}")


def ladder(
    out: Output,
    settings: dict[str, Any],
    seed: Annotated[int, typer.Option(metavar="N", help="Decides weights and order.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Also resnet18 (slow).")] = False,
    digits: flags.Digits = None,
) -> None:
    """Compare every model, from the baseline up.

    Each is fitted with its defaults; no run folder is written.
    """
    if digits and settings["data"]:
        raise ConfigError("--digits and --data both say which images; give one of them")
    name = settings.pop("data") or ("mnist" if digits == "all" else "mnist_sample")
    settings["seed"] = seed
    resolve(settings)  # refuses a wrong setting; `climb` only leaves out models that do not fit
    from mnistlab.report.tables import ladder_table
    from mnistlab.studies.ladder import climb

    steps = list(climb(name, settings, out.notice, full=full))
    out.document({"data": name, "seed": seed, "steps": steps})
    out.result(ladder_table(steps))
    if not out.as_json and any(step["chapter"] is not None for step in steps):
        out.notice("book: means over classes or batches there; ours counts each image once")


def pixel_similarity(
    out: Output, settings: dict[str, Any], run_dir: flags.RunDir = DEFAULT_FOLDER
) -> None:
    """Score the nearest mean image: the score to beat.

    Every image gets the class whose mean training image is nearest.
    """
    resolved = resolve({"model": "pixel-similarity", **settings})
    from mnistlab.experiment import prepare, start
    from mnistlab.losses import LOSSES
    from mnistlab.training import evaluate

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    experiment = start(experiment, run_dir, sys.argv)
    run, config = experiment.run, experiment.config
    assert run is not None
    with run.locked():
        list(experiment.train())  # to its end
    valid_ds, loss_func = experiment.on_device()[1], LOSSES[config.loss]
    evaluation = evaluate(experiment.now.model, valid_ds, experiment.card.classes, loss_func)
    out.document(
        {
            "run": str(run.path),
            "model": config.model,
            "distance": config.distance,
            **evaluation.as_dict(),
        }
    )
    out.notice(f"pixel similarity ({config.distance}) on valid of {printable(config.data)}")
    if out.quiet:
        out.result(f"accuracy {evaluation.accuracy:.6f}  run {printable(run.path)}")
    elif out.tables:
        from mnistlab.report.tables import evaluation_tables

        out.result(*evaluation_tables(evaluation))
    out.notice(f"run   {printable(run.path)}\nnext  mnistlab train")
