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
