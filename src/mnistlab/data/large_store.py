"""The images of a store that is too large to be checked at each start: checked as they are read."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch


class CheckedImages(torch.Tensor):
    """Images uint8 (n, H, W): an operation on some of them verifies their part of the file first.

    What an operation gives is an ordinary tensor. `verify` takes the rows that are read; None for
    all.
    """

    verify: Callable[[Iterable[int] | None], None]

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            for value in (*args, *kwargs.values()):
                for images in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(images, cls):
                        images.verify(_rows_read(func, len(images), args))
            return func(*args, **kwargs)


_OF_SHAPE = {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.__len__}
_OF_SHAPE |= {getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim")}


def _rows_read(func: Callable[..., Any], n: int, args: tuple[Any, ...]) -> Iterable[int] | None:
    """Which of `n` images `func` reads; None for all, or where that is not known."""
    if func in _OF_SHAPE:
        return ()
    if func == torch.Tensor.__getitem__ and type(args[1]) in (int, slice):
        return range(n)[args[1]] if type(args[1]) is slice else (range(n)[args[1]],)
    if func == torch.Tensor.index_select and len(args) == 3 and args[1] == 0:
        return cast("list[int]", args[2].tolist())
    return None
