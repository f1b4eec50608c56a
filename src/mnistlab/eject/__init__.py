"""A run as one plain PyTorch script: no mnistlab in it, the same weights to the bit out of it."""

from mnistlab.eject.script import eject

__all__ = ["eject"]
