"""`mnistlab train`: a model, a row per epoch, a run folder; `lr-find`: which learning rate?"""

import math
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.cli.signals import StopSignals
from mnistlab.cli.training_output import headline, show_plan, train_seeds, training_rows
from mnistlab.config import PIN, flag_of
from mnistlab.errors import CheckError, ConfigError
from mnistlab.launcher import Launch, launched
from mnistlab.names import printable
from mnistlab.report.rows import HEADER, epoch_line
from mnistlab.resolving import Resolved, resolve
from mnistlab.runs import DEFAULT_FOLDER, Run, find_run, list_runs

if TYPE_CHECKING:
    from mnistlab.experiment import Experiment
    from mnistlab.processes import Team

CHANGES_ON_RESUME = ("epochs", "threads", "data")


def train(
    out: Output,
    settings: dict[str, Any],
    config: flags.Config = None,
    run_dir: flags.RunDir = DEFAULT_FOLDER,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=flags.complete_runs,
            help="Go on with a run; with --epochs TOTAL also past its end.",
        ),
    ] = None,
    strict: flags.Strict = False,
    or_start: Annotated[
        bool,
        typer.Option(
            "--or-start",
            help="With --resume latest: train a new run where there is none yet (batch jobs).",
        ),
    ] = False,
    min_accuracy: flags.MinAccuracy = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Then calibrate the run: it can say when it is not sure."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "-n", help="Show settings, model and data; train nothing."),
    ] = False,
) -> None:
    """Train a model, one row an epoch, and write a run folder.

    Settings come from flags, then --config, then the defaults.
    """
    # `flags.command` calls this, with `settings` made of the flags of TrainConfig: --lr 0.5 is
    # settings["lr"] == 0.5. The other parameters are flags of its own.
    launch, run, resolved = launched(), None, None
    first = launch.rank == 0
    if dry_run and resume is not None:
        raise ConfigError("--dry-run: shows a new run; it does not go with --resume")
    if or_start:
        if resume != "latest":
            raise ConfigError("--or-start: goes with --resume latest")
        asked = resolve(settings, config, run_dir, launch.run_id != "")
        if first and list_runs(run_dir):
            settings, config = _agreeing(find_run(resume, run_dir), asked), None
        else:
            resume = None
    if resume is not None:
        given = [k for k, v in settings.items() if v is not None and k not in CHANGES_ON_RESUME]
        if fixed := [*map(flag_of, given), *(["--config"] if config is not None else [])]:
            raise ConfigError(
                f"{', '.join(fixed)}: a resumed run keeps its settings; only --epochs, "
                "--threads and --data (where its data are now) go with --resume"
            )
        resolve(settings)  # a value out of range is refused at once
    elif strict and first:
        raise ConfigError("--strict: compares with an earlier run; give it with --resume RUN")
    else:
        # before torch is imported: a typo is refused at once
        resolved = resolve(settings, config, run_dir, launch.run_id != "")
        if calibrate and resolved.config.is_study:
            raise ConfigError("--calibrate: is for one model, not for several seeds or folds")
    if first and resume is not None:
        run = find_run(resume, run_dir)
    elif first and launch.run_id and resolved and not dry_run:
        run = _begun(launch, resolved, run_dir)
    from mnistlab.processes import Team
    from mnistlab.resuming import known_to_all

    with Team(launch) as team, known_to_all(run, team) as known:
        if known is not None:
            changes = team.share({key: settings[key] for key in CHANGES_ON_RESUME})[0]
            run, accuracy = known, _resume(known, {**changes, "strict": strict}, out, team)
        else:
            from mnistlab.experiment import prepare, start

            assert resolved is not None
            with out.loading() as progress:
                experiment = prepare(resolved, progress, team=team)
            _join_in(experiment, out)
            if dry_run:
                show_plan(experiment, out)
                return
            experiment = start(experiment, run_dir, sys.argv)
            run = experiment.run or Run(run_dir)
            with run.locked() if experiment.run else nullcontext():
                accuracy = _train(experiment, run, out)
    if not first:
        return
    if calibrate:
        from mnistlab.studies.calibrate import calibrate_run

        calibrate_run(run)
        out.notice("calibrated")
    if min_accuracy is not None and accuracy < min_accuracy:
        raise CheckError(f"accuracy {accuracy:.6f} is below --min-accuracy {min_accuracy:g}")


def _begun(launch: Launch, asked: Resolved, folder: Path) -> Run | None:
    """The run of an earlier attempt of the same launch: torchrun starts all again."""
    done_too = launch.again and not asked.config.is_study
    statuses = ("running", "stopped", *(["done"] if done_too else []))
    for run in reversed(list_runs(folder)):
        record = run.known_record()
        if record and record.launch == launch.run_id and record.status in statuses:
            with suppress(ConfigError):
                _agreeing(run, asked)
                return run
    return None


def _join_in(experiment: "Experiment", out: Output) -> None:
    """Make sure that all processes do the same. Raises typer.Exit in one that has nothing to do."""
    from mnistlab.devices import environment

    config, team = experiment.config, experiment.team
    here = environment(experiment.device, config.model)
    facts = config.applicable() | here | {"data": experiment.data.fingerprint}
    may_differ = ("platform", "python", "valid", "exclude")
    team.require_same({key: fact for key, fact in facts.items() if key not in may_differ})
    started = team.size
    if not team.take_part(config):
        raise typer.Exit
    if team.size < started:
        out.notice(f"note: {started} processes were started; {team.size} can share this work")


def _train(experiment: "Experiment", run: Run, out: Output) -> float:
    """Train and show a row per epoch; the accuracy. Raises typer.Exit after a stop."""
    if experiment.config.is_study:
        return train_seeds(experiment, run, out)
    now = experiment.now
    out.read(experiment.data)
    out.notice(headline(experiment))
    with StopSignals() as stop:
        with training_rows(out, HEADER, experiment, lambda: now.place) as show:
            for _ in experiment.train(stop):
                row, best = now.history[-1], now.best
                show(epoch_line(row.model_dump()), best is not None and best.epoch == row.epoch)
        if (stop() or experiment.team.stopped) and not experiment.finished:
            out.notice(
                f"stopped in epoch {now.place.epoch} after {now.place.batch} batches; all is "
                "saved\n"
                f"go on with: mnistlab train --resume {printable(run.reference)}"
            )
            raise typer.Exit(stop.exit_code or 143)  # another process was asked
    return _report(experiment, run, out)


def _report(experiment: "Experiment", run: Run, out: Output) -> float:
    """Show what came out of a run; its accuracy."""
    result = experiment.capture().result()
    assert result.accuracy is not None
    assert result.best is not None
    out.document(
        {
            "run": str(run.path),
            "model": experiment.card.model,
            "classes": list(experiment.card.classes),
            "seed": experiment.config.seed,
            **result.as_dict(),
        }
    )
    if out.quiet:
        out.result(f"accuracy {result.accuracy:.6f}  run {printable(run.path)}")
    out.notice(
        f"run     {printable(run.path)}\n"
        f"best    {result.best.accuracy:.6f} in epoch {result.best.epoch}; "
        f"weights sha256 {str(result.weights_sha256)[:16]}\n"
        f"next    mnistlab eval {printable(run.reference)}"
    )
    return result.accuracy


def _agreeing(run: Run, asked: Resolved) -> dict[str, Any]:
    """What was `asked` for and may change when `run` is resumed; all else must be the run's own.

    Raises ConfigError with every setting that is another one.
    """
    given = {
        key: value
        for key, value in asked.config.applicable().items()
        if asked.origins[key].startswith(("--", "config "))
    }
    record = run.known_record()
    faults = [
        f"{flag_of(key)} {printable(value)}: {printable(run.name)}, the latest run, has "
        f"{printable(getattr(record.config, key))}; give other work a --run-dir of its own"
        for key, value in given.items()
        if record and key not in CHANGES_ON_RESUME
        if value
        not in (theirs := getattr(record.config, key), "auto", str(theirs).partition(PIN)[0])
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return {key: given.get(key) for key in CHANGES_ON_RESUME}


def _resume(run: Run, options: dict[str, Any], out: Output, team: "Team") -> float:
    record = run.known_record()
    study = record is not None and record.config.is_study
    if record and study and record.status not in ("running", "stopped"):
        kind = "folds" if record.config.folds else "seeds"
        raise ConfigError(f"{printable(run.path)}: all its {kind} are trained; nothing to resume")
    if record and study and options["epochs"] not in (None, record.config.epochs):
        raise ConfigError(
            f"--epochs: all models of {printable(run.name)} train as long as the first"
        )
    # a training run saves its state before its first model
    has_more = run.model_file.exists() or not run.config_file.exists()
    fitted = record and record.model == "pixel-similarity" and record.status == "done"
    if fitted or (has_more and not run.state_file.exists() and not study):
        raise ConfigError(f"{printable(run.path)}: not a training run; nothing to resume")
    with run.locked():
        from mnistlab.resuming import resume as resume_run

        with out.loading() as progress:
            experiment = resume_run(run, sys.argv, progress=progress, team=team, **options)
        _join_in(experiment, out)
        for text in experiment.notices:
            out.notice(f"note: {text}")
        if experiment.finished:
            config = experiment.config
            extends = "" if config.schedule == "one-cycle" else "; --epochs TOTAL extends it"
            why = f"all {config.epochs} epochs are done already{extends}"
            if experiment.out_of_patience:
                why = f"ended already: no better epoch came in {config.patience} (--patience)"
            out.notice(f"{printable(run.name)}: {why}")
            # A save that was cut short leaves the state ahead of the other files. A complete run
            # stays as it is: its record is of the machine that trained it.
            files = (run.model_file, run.best_file, run.path / "metrics.csv")
            if record is None or record.status != "done" or not all(f.exists() for f in files):
                experiment.save(experiment.capture(), "done")
        else:
            if not study:
                experiment.save(experiment.capture(), "running")
            experiment.write_start(run)  # with the new total, or number of threads
            if run.calibration_file.exists():
                again = f"mnistlab calibrate {printable(run.reference)}"
                out.notice(f"note: its calibration is of the weights so far; then: {again}")
            return _train(experiment, run, out)
        return _report(experiment, run, out)


def lr_find(
    out: Output,
    settings: dict[str, Any],
    config: flags.Config = None,
    start: Annotated[float, typer.Option(metavar="X", help="The first rate.")] = 1e-4,
    end: Annotated[float, typer.Option(metavar="X", help="The last rate.")] = 100.0,
    steps: Annotated[int, typer.Option(metavar="N", help="Batches to try.")] = 200,
    plot: flags.Plot = None,
) -> None:
    """Suggest a learning rate: let it grow, watch the loss.

    On a model of its own; nothing is written, and no training is changed by it.
    """
    resolved = resolve(settings, config)
    from mnistlab.experiment import prepare
    from mnistlab.report.pictures import Curves
    from mnistlab.studies.lr_find import find_lr

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    out.notice(headline(experiment))
    sweep = find_lr(experiment, start=start, end=end, steps=steps)
    out.document(
        {
            "model": experiment.card.model,
            "suggestion": sweep.suggestion,
            "reason": sweep.reason,
            "steepest": sweep.lrs[sweep.steepest],
            "lowest": sweep.lrs[sweep.lowest],
            "whole": sweep.complete,
            "steps": [
                {"lr": lr, "loss": loss, "smooth": smooth}
                for lr, loss, smooth in zip(sweep.lrs, sweep.losses, sweep.smooth, strict=True)
            ],
        }
    )
    near = min(range(len(sweep.lrs)), key=lambda i: abs(math.log(sweep.lrs[i] / sweep.suggestion)))
    picture = Curves(
        "loss as the learning rate grows",
        {"loss, smoothed": (sweep.lrs, sweep.smooth)},
        "learning rate",
        "loss",
        dots={"suggestion": ([sweep.lrs[near]], [sweep.smooth[near]])},
        log_x=True,
    )
    if out.tables:
        from mnistlab.report.terminal import text_picture

        out.result(text_picture(picture), "")
    name = printable(experiment.card.model)
    out.result(f"suggestion  {sweep.suggestion:g}  for {name}: {sweep.reason}")
    if plot is not None:
        from mnistlab.report.files import draw

        draw([picture], plot)
        out.notice(f"drawn  {printable(plot)}")
    found = {**settings, "lr": f"{sweep.suggestion:g}"}
    out.notice(f"next   {flags.train_command(found, config)}")
