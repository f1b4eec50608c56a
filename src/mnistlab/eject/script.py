"""From a run to the text of its script."""

import re
import shlex

from mnistlab import optim as schedules
from mnistlab.config import TrainConfig
from mnistlab.data import batches as augment
from mnistlab.data.batches import epoch_order
from mnistlab.data.folders import ImageData
from mnistlab.data.named import load_data
from mnistlab.eject import parts
from mnistlab.eject.borrowed import constants, source
from mnistlab.eject.honoured import require_honoured
from mnistlab.eject.readers import reader_for
from mnistlab.eject.words import flags_for, words_for
from mnistlab.errors import ConfigError, DamagedFileError, DataError, RunError
from mnistlab.names import printable
from mnistlab.runs import Run


def eject(run: Run) -> str:
    """The script that trains what `run` trained, as text.

    Raises ConfigError for a run that trains nothing, trained several seeds, or has settings that a
    script does not follow; DataError if the data has changed, RunError for a run that does not say
    what it was.
    """
    try:
        record = run.record()
    except DamagedFileError as error:
        raise RunError(f"{error}; what to train is not known") from error
    config = record.config
    if config.model == "pixel-similarity":
        raise ConfigError(f"{run.name}: pixel similarity trains nothing; eject a trained run")
    _require_one_seed(config, run)
    require_honoured(config)
    data = load_data(config.data, skip_bad=config.skip_bad)
    if data.fingerprint != record.data.fingerprint:
        raise DataError(
            config.data,
            [f"{printable(config.data)}: has changed since {printable(run.name)} was trained"],
        )
    sha = "(unknown: not one finished run on one machine)"
    if record.status == "done" and not record.mixed and record.result is not None:
        sha = str(record.result.weights_sha256)
    return script(config, data, reader_for(data), name=run.name, sha=sha)


def _require_one_seed(config: TrainConfig, run: Run) -> None:
    if config.seeds > 1:
        file = printable(shlex.quote(str(run.config_file)))
        raise ConfigError(
            f"{printable(run.name)}: trained {config.seeds} seeds, and a script trains one; train "
            f"one alone with mnistlab train --config {file} --seeds 1 --seed N, and eject that run"
        )


def script(config: TrainConfig, data: ImageData, readers: list[str], *, name: str, sha: str) -> str:
    """The script of a run `name` with these settings, all of them honoured, on this data.

    `readers` are the functions of `reader_for`; `sha` is what is said of the weights to expect.
    """
    flags = flags_for(config, data) | ({"full"} if "ImageOps" in readers[-1] else set())
    words = words_for(config, data, flags) | {"RUN": printable(name), "SHA": sha}
    functions = [
        *readers,
        parts.LOAD,
        *([source(epoch_order)] if config.shuffle else []),
        *([constants(augment), source(augment.augment)] if config.augment else []),
        *(_one_cycle() if config.schedule == "one-cycle" else []),
        parts.LOSSES[config.loss],
    ]
    main = parts.PREPARE + parts.MODELS[config.model] + parts.LOOP
    texts = [parts.HEAD, *functions, main]
    text = "\n\n\n".join(parts.fill(text, words, flags).rstrip() for text in texts) + "\n"
    return re.sub("\n{4,}", "\n\n\n", text)


def _one_cycle() -> list[str]:
    names = {"_cosine": "cosine"}
    return [source(schedules._cosine, names), source(schedules.one_cycle, names)]
