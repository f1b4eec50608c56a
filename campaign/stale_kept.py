"""A dataset with a name, damaged where it is kept."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from campaign.stale_damage import DAMAGE
from campaign.tally import Tally
from mnistlab.data.datasets import DATASETS, Dataset
from mnistlab.data.idx import IdxSplit
from mnistlab.data.store import load_dataset, store_dataset
from mnistlab.errors import MnistlabError


def damaged_datasets(times: int, random: Random) -> Tally:
    """Kept files that are not what was written: refused with what to do, and good once made
    again."""
    tally = Tally()
    ours, other = DATASETS["usps"], DATASETS["mnist"]  # of the same classes
    _keep(other)
    for _ in range(times):
        for name, damage in DAMAGE.items():
            fault = _damaged(ours, partial(damage, ours.path, other.path, random))
            tally.check(fault is None, f"a kept dataset, {name}: {fault}")
    return tally


def _keep(dataset: Dataset) -> None:
    """Three images of every class in both splits, each of its own shade."""
    labels = bytes(dataset.labels.values()) * 3
    side = dataset.side
    pixels = b"".join(bytes([place + len(dataset.name)]) * side**2 for place in range(len(labels)))
    small = replace(dataset, images=(len(labels),) * 2)
    store_dataset(small, {split: _split(pixels, labels, side) for split in ("train", "valid")}, [])


def _split(pixels: bytes, labels: bytes, side: int) -> IdxSplit:
    return IdxSplit(bytearray(pixels), bytearray(labels), side, side)


def _damaged(dataset: Dataset, damage: Callable[[], object]) -> str | None:
    path = dataset.path
    _keep(dataset)
    good = load_dataset(dataset)
    damage()
    try:
        load_dataset(dataset)
        return "was loaded"
    except MnistlabError as error:
        if f"mnistlab data download {dataset.name}" not in str(error):
            return f"it is not told what to do: {error}"
    if path.is_dir():
        path.rmdir()
    elif path.is_fifo():
        path.unlink()
    _keep(dataset)
    if load_dataset(dataset).fingerprint != good.fingerprint:
        return "made again, it is another"
    return None
