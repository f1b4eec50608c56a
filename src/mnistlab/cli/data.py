"""`mnistlab data …`: datasets by name, folders of images, MNIST's own files."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnistlab.cli import flags
from mnistlab.cli.output import Output
from mnistlab.cli.signals import StopSignals
from mnistlab.cli.training_output import UNEVEN
from mnistlab.data import BUNDLED
from mnistlab.data.datasets import DATASETS, NAMED, find_dataset
from mnistlab.errors import ConfigError, DataError
from mnistlab.files import cache_folder, write_csv, write_file
from mnistlab.names import printable
from mnistlab.resolving import resolve
from mnistlab.system import quoted

if TYPE_CHECKING:
    from mnistlab.data.audit import Audit
    from mnistlab.data.layouts import LoadOptions


def check(
    out: Output,
    settings: dict[str, Any],
    data: Annotated[
        str,
        typer.Argument(metavar="DIR", help="What --data takes: a folder, a table, an archive, ..."),
    ],
) -> None:
    """Audit images: open every one.

    Tells all that is worth knowing, how train reads them, and the command for that; exits with 2 if
    they cannot be trained on without a flag.
    """
    from mnistlab.data.audit import audit
    from mnistlab.data.layouts import TwoWaysError, options_of

    if data not in NAMED or Path(data).exists():
        data = _as_folder(Path(data))
    options = options_of(resolve(settings).config)

    def command(found: "Audit", needed: "LoadOptions | None", **more: Any) -> str:
        """What trains on these images; empty where nothing does."""
        if needed is None:
            return ""
        counts = found.counts["train"].values()
        uneven = "balanced" if max(counts) > UNEVEN * min(counts) else None
        more |= {"skip_bad": needed.skip_bad or None, "class_weights": uneven}
        return flags.train_command({"data": data, **settings, **more})

    try:
        with out.loading() as progress:
            found, needed = audit(data, options, progress)
    except TwoWaysError as error:
        commands = []
        for layout in error.readings:
            with suppress(DataError):
                advice = command(*audit(data, replace(options, layout=layout)), layout=layout)
                commands += [f"next   {advice}"] if advice else []
        raise DataError(printable(data), error.faults, "\n".join(commands)) from error
    advice = command(found, needed)
    out.document({**found.as_dict(), "command": advice or None})
    if out.tables:
        from mnistlab.report.tables import audit_tables

        out.result(*audit_tables(found))
    if found.faults:
        raise DataError(printable(data), found.faults, f"next   {advice}" if advice else "")
    out.result(f"{printable(data)}: fit to train on")
    out.notice(f"next   {advice}")


def import_idx(
    out: Output,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A folder with train-images-idx3-ubyte, its labels, and t10k-..., gzipped or not.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to make; must be new.")],
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Keep only these labels, as in 3,7.")
    ] = None,
) -> None:
    """Turn MNIST-format files into folders of PNG.

    Makes train/<class>/<index>.png and valid/<class>/<index>.png.
    """
    from mnistlab.data.trees import import_idx as convert

    wanted = [name.strip() for name in (classes or "").split(",") if name.strip()]
    if classes is not None and not wanted:
        raise DataError("--classes", ["--classes: names no class; write it as in 3,7"])
    with out.loading() as progress:
        counts = convert(source, target, wanted or None, progress)
    out.document({"data": str(target), "counts": counts})
    _report_counts(out, counts, _as_folder(target))


def split(
    out: Output,
    settings: dict[str, Any],
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A folder or dataset, as for train --data.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to make; must be new.")],
    folds: Annotated[
        int, typer.Option(metavar="N", help="Write N folds, each a tree of train and valid.")
    ] = 0,
    test_fraction: Annotated[
        float, typer.Option(metavar="X", help="Also set apart test/, this share of the images.")
    ] = 0.0,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files; without it they are linked if possible.")
    ] = False,
) -> None:
    """Write train/ and valid/ as train reads them.

    The same images on the same sides as train --data SRC; with --folds those of train --folds.
    """
    config = resolve({**settings, "folds": folds}).config
    if not 0 <= test_fraction < 1 - config.valid_fraction:
        raise ConfigError(
            f"--test-fraction {test_fraction:g}: from 0 on, and with --valid-fraction "
            f"{config.valid_fraction:g} below 1"
        )
    if folds and test_fraction:
        raise ConfigError("--test-fraction: does not go with --folds, where every image scores")
    from mnistlab.data.layouts import options_of
    from mnistlab.data.trees import split_data

    with out.loading() as progress:
        options = options_of(config)
        counts, data = split_data(source, target, options, folds, test_fraction, copy, progress)
    out.document({"data": str(target), "counts": counts})
    out.read(data)
    # train reads several sizes as one, and a part of the images may happen to have one
    size = " --image-size {}x{}".format(*data.image_size) if data.fit else ""
    _report_counts(out, counts, _as_folder(target / "fold-0" if folds else target), size)


def doubt(
    out: Output,
    settings: dict[str, Any],
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder or dataset, as for train --data.")
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model that judges, as for train.")
    ] = "cnn",
    folds: Annotated[
        int, typer.Option(metavar="N", min=2, help="How many models share the images.")
    ] = 5,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many images to name.")] = 20,
    csv: Annotated[
        Path | None, flags.output_file("csv", help="Also write a CSV file for train --exclude.")
    ] = None,
    page: Annotated[
        Path | None, flags.output_file("html", help="Also show them on a page (HTML).")
    ] = None,
) -> None:
    """Name the images that are most likely labelled wrongly.

    Each image is judged by a model that was trained without it (confident learning).
    """
    resolved = resolve({**settings, "model": model, "data": source, "folds": folds})
    from mnistlab.experiment import prepare
    from mnistlab.studies.doubt import Doubt, find_doubts
    from mnistlab.studies.seeds import SeedStudy

    with out.loading() as progress:
        experiment = prepare(resolved, progress)
    out.read(experiment.data)
    assert experiment.folds is not None
    images, study = experiment.folds.images, SeedStudy(experiment)
    with StopSignals() as stop, out.loading("training") as progress:
        for number, _ in enumerate(study.train(stop), 1):
            progress("folds", number, folds)
        if stop() and not study.finished:
            raise typer.Exit(stop.exit_code)
    study.check_diverged()
    ranked, n_confident = find_doubts(images, study.probabilities)
    _, *columns = (each.name for each in fields(Doubt))  # without its place in memory
    rows = [astuple(one)[1:] for one in ranked[:top]]
    out.document(
        {
            "data": experiment.config.data,
            "images": len(images.ds),
            "confident": n_confident,
            "accuracy": study.summary()["mean"],
            "doubts": [dict(zip(columns, row, strict=True)) for row in rows],
        }
    )
    if csv:
        write_csv(csv, columns, rows)
    if page:
        from mnistlab.report.page import render_images
        from mnistlab.report.pictures import Images

        pixels = {
            f"{one.label}, or {one.suggested}?\n{one.probability:.3f}\n{one.file}": images.ds[
                one.index
            ][0]
            for one in ranked[:top]
        }
        note = "Probability of the second class, by a model that was trained without the image."
        worst = "Most likely labelled wrongly, the worst first"
        drawn = [Images(worst, pixels, False, (0, 255), note)]
        write_file(page, render_images(f"Doubtful labels of {source}", drawn).encode())
    from mnistlab.report.tables import table

    cells = [(*row[:3], *(f"{value:.6f}" for value in row[3:])) for row in rows]
    out.result(table(columns, cells, left=3))
    out.notice(f"{n_confident:,} of {len(images.ds):,} images are confidently of another class")
    if csv:
        data = printable(quoted("--data", source, "--exclude", str(csv)))
        out.notice(f"next   look at them; leave them out with: mnistlab train {data}")


def download(
    out: Output,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A dataset of: mnistlab data list.",
            autocompletion=flags.complete_from(lambda: DATASETS),
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR|URL",
            help="A folder that has the published files, or the address of a mirror.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write folders of PNG there; must be new.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, also if it is here already.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked", help="With --from DIR: take files that are not the published ones."
        ),
    ] = False,
) -> None:
    """Get a dataset by name, for --data NAME.

    Files are checked against their published checksums; a download that was broken off goes on
    where it stopped. The only command that uses the network.
    """
    dataset = find_dataset(name)  # a typo is reported before torch is imported
    from mnistlab.data.download import obtain

    try:
        downloads = out.loading("downloading", in_bytes=True)
        with downloads as downloading, out.loading() as writing:
            counts, originals = obtain(
                dataset,
                source,
                to=to,
                force=force,
                unchecked=unchecked,
                downloading=downloading,
                writing=writing,
            )
    except KeyboardInterrupt:
        out.notice("stopped; what has arrived is kept: the same command goes on from there")
        raise
    if not originals and not to:
        out.notice(f"{name} is here already; --force makes it again")
    unsure = [original.name for original in originals if original.checked == "no"]
    if unsure:
        out.notice(f"not checked, as they are not the published files: {', '.join(unsure)}")
    keys = ("name", "bytes", "sha256", "checked")
    out.document(
        {
            "name": name,
            "data": str(to or name),
            "classes": list(dataset.classes),
            "image_size": [dataset.side] * 2,
            "counts": counts,
            "files": [{key: getattr(original, key) for key in keys} for original in originals],
        }
    )
    _report_counts(out, counts, _as_folder(to) if to else name)


def list_datasets(out: Output) -> None:
    """List the datasets that have a name, and which are here."""
    keys = ("name", "about", "classes", "train", "valid", "side", "download_mb", "here")
    rows: list[Sequence[Any]] = [
        (BUNDLED, "MNIST's 3s and 7s", ["3", "7"], 12396, 2038, 28, 0, True),
        *(
            (one.name, one.about, [*one.classes], *one.images, one.side, one.packed, one.here)
            for one in DATASETS.values()
        ),
    ]
    listed = [dict(zip(keys, row, strict=True)) for row in rows]
    out.document({"datasets": listed})
    from mnistlab.report.tables import datasets_table

    out.result(datasets_table(listed))
    if not all(row["here"] for row in listed):
        out.notice("get one with: mnistlab data download NAME")


def where(out: Output) -> None:
    """List what is in the cache: decoded folders, the bundled data, downloads.

    MNISTLAB_CACHE names another folder for it.
    """
    from mnistlab.data.cache import list_cache

    entries = list_cache()
    bundled = {one.name: str(path) for one in DATASETS.values() for path in one.bundled.values()}
    out.document({"cache": str(cache_folder()), "entries": entries, "bundled": bundled})
    _show_entries(out, entries)
    out.result(f"{_megabytes(entries)} in {printable(cache_folder())}")
    for name, path in bundled.items():
        out.result(f"{name} needs no network: it is in {printable(path)}")
    if entries:
        out.notice("empty it with: mnistlab data clear")


def clear(
    out: Output,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the datasets that were downloaded.")
    ] = False,
) -> None:
    """Empty the cache. Downloads stay, unless --all.

    All else is made again when it is needed.
    """
    from mnistlab.data.cache import clear as empty_cache

    removed, left = empty_cache(downloads=everything)
    out.document({"removed": removed, "left": left})
    _show_entries(out, removed)
    out.result(f"removed {_megabytes(removed)}")
    if any(entry["kind"] == "download" for entry in left) and not everything:
        out.notice(f"downloads stay, {_megabytes(left)}; --all removes them too")


def _show_entries(out: Output, entries: list[dict[str, Any]]) -> None:
    from mnistlab.report.tables import table

    rows = []
    for each in entries:
        name, size = printable(Path(each["path"]).name), f"{each['bytes'] / 1e6:,.1f}"
        rows.append((each["kind"], name, each["about"], size))
    if rows and out.tables:
        out.result(table(("kind", "name", "of", "MB"), rows, left=3))


def _megabytes(entries: list[dict[str, Any]]) -> str:
    return f"{sum(entry['bytes'] for entry in entries) / 1e6:,.1f} MB"


def _as_folder(path: Path) -> str:
    """How `--data` names a folder: one that is called like a dataset needs a `./`."""
    own = str(path)
    return f"./{own}" if own in NAMED else own


def _report_counts(
    out: Output, counts: dict[str, dict[str, int]], data: str, more: str = ""
) -> None:
    for split, by_class in counts.items():
        counted = ", ".join(f"{count:,} of {name}" for name, count in by_class.items())
        out.result(f"{split}  {counted}")
    out.notice(f"next   mnistlab train --data {printable(quoted(data))}{more}")
