"""Which images are for validation where nobody said so: decided by the images themselves."""

from collections import defaultdict
from collections.abc import Sequence

_WHOLE = 2**64


def split_by_digest(labels: Sequence[str], digests: Sequence[bytes], share: float) -> list[bool]:
    """Whether each image is for validation: where its digest, as a fraction, is below `share`.

    So equal images are on one side, a file that is renamed stays where it is, and images that are
    added move no other. A class that would have none on one side gives it the image whose digest
    is nearest; it needs two different images for that.
    """
    places = [int.from_bytes(digest[:8], "big") for digest in digests]
    limits = dict.fromkeys(labels, share * _WHOLE)
    by_class = defaultdict(set)
    for label, place in zip(labels, places, strict=True):
        by_class[label].add(place)
    for label, own in by_class.items():
        if min(own) >= limits[label]:
            limits[label] = min(own) + 1
        elif max(own) < limits[label]:
            limits[label] = max(own)
    return [place < limits[label] for label, place in zip(labels, places, strict=True)]


def split_into_folds(
    labels: Sequence[str], digests: Sequence[bytes], n_folds: int
) -> tuple[list[int], dict[str, int]]:
    """The fold of each image, 0 to n_folds - 1, and the classes with too few different images.

    The fold is the digest, as a fraction, times n_folds: equal images are in one fold, a file that
    is renamed stays in its own, and images that are added move no other. A class that would have
    none in some fold is dealt out in the order of its digests instead, as evenly as it can be; it
    needs n_folds different images for that, or is returned with how many it has.
    """
    places = [int.from_bytes(digest[:8], "big") for digest in digests]
    by_class = defaultdict(set)
    for label, place in zip(labels, places, strict=True):
        by_class[label].add(place)
    folds: dict[tuple[str, int], int] = {}
    too_few = {}
    for label, own in by_class.items():
        chosen = {place: place * n_folds // _WHOLE for place in own}
        if len({*chosen.values()}) < n_folds:
            chosen = {place: i * n_folds // len(own) for i, place in enumerate(sorted(own))}
        if len(own) < n_folds:
            too_few[label] = len(own)
        folds |= {(label, place): fold for place, fold in chosen.items()}
    return [folds[key] for key in zip(labels, places, strict=True)], too_few
