"""The images of a scan, decoded one after the other: photos by several threads."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from mnistlab.data import images
from mnistlab.data.scan import Scan

_PHOTO_BYTES = 16 * 1024  # of a file; from here on threads help
_MOST_THREADS = 8  # each may hold a photo of 16 megapixels


def read_all(
    scan: Scan, files: Sequence[str], unusable: Collection[str]
) -> Iterator[tuple[int, images.Decoded | images.UndecodableError]]:
    """Every image that is not `unusable` with its position, in order, or why it cannot be decoded.

    Photos are decoded by as many threads as torch uses. Small images are not: Python does most of
    the work on them, and that one thread at a time.
    """

    def read(position: int) -> images.Decoded | images.UndecodableError:
        try:
            return scan.read(position) or images.decode(scan.folder / files[position])
        except images.UndecodableError as fault:
            return fault

    positions = [position for position, file in enumerate(files) if file not in unusable]
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    if threads == 1 or sum(scan.stamps[1::5]) < _PHOTO_BYTES * len(files):
        for position in positions:
            yield position, read(position)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[tuple[int, Future[images.Decoded | images.UndecodableError]]] = deque()
        for position in positions:
            ahead.append((position, pool.submit(read, position)))
            if len(ahead) > 2 * threads:  # not all at once, which would take all memory
                done, future = ahead.popleft()
                yield done, future.result()
        for done, future in ahead:
            yield done, future.result()
