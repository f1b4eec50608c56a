"""What a run's folder says of it: settings, data, environment, files, how to repeat it."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnistlab.config import SETTINGS_OF_MODELS
from mnistlab.report.gallery import Gathered
from mnistlab.report.history import best_epoch, epochs_of, mapping, number, result_of, seeds_of
from mnistlab.storage import weights_sha256

Rows = list[tuple[str, ...]]

FILES = {
    "config.toml": "every setting with its origin, usable as --config",
    "metrics.csv": "losses, accuracy and seconds of every epoch",
    "model.safetensors": "the last weights",
    "best.safetensors": "the best weights",
    "resume.safetensors": "all that resuming needs",
    "run.json": "versions, data, command line, result",
}
_STATUS = {
    "running": "was still training, or was killed",
    "stopped": "was stopped before its last epoch",
    "diverged": "diverged: its loss stopped being a finite number",
}


def about(found: Gathered) -> list[str]:
    """One line of facts for the head of a page: name, epochs, seed, date."""
    info, config = found.info, mapping(found.info.get("config"))
    told = [found.run.path.resolve().name]
    # a model that is fitted, not trained, has one row that is no epoch
    if (epochs := len(epochs_of(info))) and "epochs" in config:
        planned = config.get("epochs", epochs)
        word = "epoch" if epochs == 1 else "epochs"
        told.append(f"{epochs} {word}" if epochs == planned else f"{epochs} of {planned} {word}")
    if seeds := seeds_of(info):
        told.append(f"{len(seeds)} seeds from {seeds[0].get('seed')}")
    elif "seed" in info:
        told.append(f"seed {info['seed']}")
    if created := info.get("created"):
        day, _, time = str(created).partition("T")
        told.append(f"{day} {time[:5]} UTC" if time.endswith("+00:00") else str(created))
    return told


def which_weights(found: Gathered) -> str:
    """Whose weights are shown: `the last weights`, `the weights of seed 3, the median of 8`, …

    Empty for a model that was fitted at once.
    """
    info = found.info
    if seeds := len(seeds_of(info)):
        place = "best" if found.best else "median"
        seed = mapping(mapping(result_of(info).get("summary")).get(place)).get("seed", "?")
        return f"the weights of seed {seed}, the {place} of {seeds}"
    epoch = best_epoch(info)
    if found.best:
        return "the best weights" + (f" (epoch {epoch})" if number(epoch) else "")
    return "the last weights" if "epochs" in mapping(info.get("config")) else ""


def spread(info: Mapping[str, Any]) -> Rows:
    """(what, value) of how the accuracies of several seeds spread; empty for one seed."""
    summary = mapping(result_of(info).get("summary"))
    words = {"mean": "mean", "sd": "standard deviation", "min": "lowest", "max": "highest"}
    rows: Rows = [
        (word, f"{summary[key]:.6f}") for key, word in words.items() if number(summary.get(key))
    ]
    if rows and (lost := summary.get("diverged")):
        rows.append(("diverged", f"seed {', '.join(map(str, lost))}"))
    return rows


def notes(found: Gathered) -> list[list[str]]:
    """What a reader must know before the figures, a note each, as its lines."""
    info, told = found.info, []
    if why := found.missing.get("info"):
        told.append(
            f"The run does not say how it was made; settings and curves are left out: {why}"
        )
    if why := found.missing.get("data"):
        told.append(
            "The images cannot be read, so confusion, mistakes and samples are left out; the "
            f"figures are those of the run:\n{why}"
        )
    if (status := info.get("status")) in _STATUS:
        told.append(f"This run {_STATUS[status]}.")
    if info.get("mixed"):
        told.append(
            "It was trained in parts on machines or thread counts that differ; its last bits "
            "cannot be repeated."
        )
    recorded = result_of(info).get("weights_sha256")
    if recorded and not found.best and recorded != sha256_of(found):
        told.append("The weights are not those that run.json names: another file took their place.")
    if changed := _changed(found):
        told.append(changed)
    return [note.split("\n") for note in told]


def _changed(found: Gathered) -> str:
    """A note if the images scored are the run's own, but no longer what they were."""
    data = mapping(found.info.get("data"))
    score = found.score
    if score is None or score.data != mapping(found.info.get("config")).get("data"):
        return ""
    parts = {"train": str(data.get("fingerprint", ""))[:32]}
    parts["valid"] = str(data.get("fingerprint", ""))[32:]
    now = score.split.fingerprint[:32]
    if not parts[score.split_name] or parts[score.split_name] == now:
        return ""
    return (
        f"The images of {score.split_name} have changed since the training: the figures are of "
        "those that are there now."
    )


def sha256_of(found: Gathered) -> str:
    """The `weights_sha256` of the weights shown."""
    return weights_sha256(found.model.state_dict())


def settings(info: Mapping[str, Any]) -> Rows:
    """(setting, value, where it came from)."""
    origins = mapping(info.get("origins"))
    config = mapping(info.get("config"))
    return [
        (key, _value(value), str(origins.get(key, "")))
        for key, value in config.items()
        # one that the model does not have is noted, but means nothing
        if config.get("model") in SETTINGS_OF_MODELS.get(key, (config.get("model"),))
    ]


def environment(info: Mapping[str, Any]) -> Rows:
    """(what, value) of the machine and the versions."""
    found = mapping(info.get("environment"))
    return [(key, _value(value)) for key, value in found.items()]


def counts(info: Mapping[str, Any]) -> Rows:
    """(class, images of train, images of valid), then the sums; many classes as sums alone."""
    data = mapping(info.get("data"))
    train, valid = (
        {name: count for name, count in mapping(data.get(split)).items() if isinstance(count, int)}
        for split in ("train", "valid")
    )
    names = list(dict.fromkeys([*train, *valid]))
    rows = [(name, _count(train.get(name, 0)), _count(valid.get(name, 0))) for name in names]
    sums = [_count(sum(split.values())) for split in (train, valid)]
    shown = rows if len(rows) <= 200 else []
    return [*shown, ("all", *sums)] if rows else []


def data_facts(info: Mapping[str, Any]) -> Rows:
    """(what, value) of the data beside its counts."""
    data = mapping(info.get("data"))
    rows: Rows = [(key, str(data[key])) for key in ("path", "fingerprint") if key in data]
    if skipped := mapping(data.get("skipped")):
        rows.append(("skipped", f"{len(skipped):,} files that cannot be used"))
    return rows


def files(folder: Path) -> Rows:
    """(file, bytes, what it holds) of those files of a run that a run has."""
    return [
        (name, f"{(folder / name).stat().st_size:,}", told)
        for name, told in FILES.items()
        if (folder / name).is_file()
    ]


def repeat(found: Gathered) -> Rows:
    """(what it does, command line): as it was called, and how to do it again."""
    info, run = found.info, found.run
    rows: Rows = []
    command = info.get("command")
    if isinstance(command, list) and command:
        called = shlex.join(["mnistlab", *map(str, command[1:])])
        rows.append(("As it was called", called))
    settings_file = run.path / "config.toml"
    if epochs_of(info) and "epochs" in mapping(info.get("config")) and settings_file.is_file():
        again = f"mnistlab train --config {shlex.quote(str(settings_file))}"
        rows.append(("Train it again, every setting the same", again))
    if info:
        rows.append(("Check that it repeats", f"mnistlab runs verify {run.reference}"))
    best = " --best" if found.best else ""
    rows.append(("Score it", f"mnistlab eval {run.reference}{best}"))
    return rows


def _count(value: Any) -> str:
    return f"{value:,}"


def _value(value: Any) -> str:
    # as a TOML file would have it, but for text, which needs no quotes here
    return str(value).lower() if isinstance(value, bool) else str(value)
