"""What an exercise is, and how an answer is judged.

The scenario of an exercise tries the learner's functions and yields what they gave, with titles.
The same scenario with the tool's own functions gives what is expected, and with each of the
classic mistakes what that mistake gives: so a wrong answer can be told by its name.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from mnistlab import load_data
from mnistlab.data.store import ImageData
from mnistlab.errors import MnistlabError
from mnistlab.language import N_, _
from mnistlab.own_code import explained

NEAR = 1e-5  # how far a number may be from ours, and as a share of it

Tries = Iterator[tuple[str, Any]]
"""What a scenario yields: titles, and values (numbers, tensors, texts, lists of these)."""
Value = dict[str, Any]
"""A value as plain data (`plain_value`)."""
Results = list[tuple[str, Value]]
"""What a scenario yields, as plain data; of an error that ends it, also its text."""


@dataclass(frozen=True)
class Exercise:
    """One gap. Its texts are marked with `N_` and looked up in the catalogue when they are shown.

    task: what to write, for people. code: what follows `torch` and `Tensor`, which each file
    imports; a gap is ` ...` behind a head. right: the tool's own functions or classes by name; the
    learner's file has the same names. scenario: takes these by name.
    mistakes: what to say of a classic one → what gives it: the functions by name, those that are
    left out are the right ones; where there is one name, the function alone. hints: three lines,
    each telling more, never the solution. honour: said where every value is ours to the last bit.
    """

    task: str
    code: str
    right: dict[str, Any]
    scenario: Callable[..., Tries]
    mistakes: dict[str, Any]
    hints: str
    honour: str = ""

    @property
    def file_code(self) -> str:
        """The code of the learner's file, each gap on a line of its own."""
        gap = re.compile(r"^( *)(\S.*:) \.\.\.$", re.MULTILINE)
        code = gap.sub(r"\1\2\n\1    ...\n", self.code.strip()).strip()
        code = re.sub(r"\n+(?=def)", "\n\n\n", code)
        apart = "" if code.startswith("from") else "\n\n"
        return f"import torch\nfrom torch import Tensor\n{apart}{code}\n"

    @cached_property
    def ours(self) -> Results:
        """What the scenario gives with the tool's own functions; computed once in a process."""
        return self.results()

    def results(self, **answer: Any) -> Results:
        """What the scenario gives with `answer` in place of the right functions of these names.

        An error ends it; its last item is then the error.
        """
        results: Results = []
        try:
            for title, value in self.scenario(**{**self.right, **answer}):
                results.append((title, plain_value(value)))
        except (Exception, SystemExit) as error:
            text = explained(error, "the check")  # where no line of the learner's is in it
            # before its kind the learner's has a line, which tells no two errors apart
            kind = type(error).__name__
            form = kind + text.partition(kind)[2]
            results.append(("error", {"form": form, "numbers": [], "text": text}))
        return results


def plain_value(value: Any) -> Value:
    """`value` as data for JSON: its form, and all numbers in it, in order.

    The form is the shape of a tensor (a number has the shape ()), `{"parts": forms}` of a list, a
    text or None as they are, and `{"kind": name}` of anything else.
    """
    if isinstance(value, torch.Tensor):
        # float64 holds every float32, so nothing is lost on the way
        numbers = value.detach().double().flatten().tolist()
        return {"form": list(value.shape), "numbers": numbers}
    if isinstance(value, int | float):
        return {"form": [], "numbers": [float(value)]}
    if isinstance(value, list | tuple):
        parts = [plain_value(part) for part in value]
        numbers = [number for part in parts for number in part["numbers"]]
        return {"form": {"parts": [part["form"] for part in parts]}, "numbers": numbers}
    plain = value is None or isinstance(value, str)
    return {"form": value if plain else {"kind": type(value).__name__}, "numbers": []}


def _close(a: float, b: float, near: float = NEAR) -> bool:
    return math.isclose(a, b, rel_tol=near, abs_tol=near) or (math.isnan(a) and math.isnan(b))


def all_same(theirs: Results, ours: Results, near: float = NEAR) -> bool:
    """Whether titles and forms are equal, and each number at most `near` away."""
    return len(theirs) == len(ours) and all(
        (title, value["form"]) == (own, mine["form"])
        and all(_close(a, b, near) for a, b in zip(value["numbers"], mine["numbers"], strict=True))
        for (title, value), (own, mine) in zip(theirs, ours, strict=True)
    )


@dataclass(frozen=True)
class Verdict:
    """passed: the answer is right. exact: to the last bit. message: lines for the learner.

    mistake: the text of the classic mistake that it is, in English; empty where it is none.
    """

    passed: bool
    exact: bool = False
    message: tuple[str, ...] = ()
    mistake: str = ""


def judge(exercise: Exercise, theirs: Results) -> Verdict:
    """Compare the results of an answer with those of the tool's own functions."""
    ours = exercise.ours
    if all_same(theirs, ours):
        exact = all_same(theirs, ours, 0.0)
        return Verdict(True, exact, tuple(_(exercise.honour).splitlines()) if exact else ())
    at = next(
        (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if not all_same([a], [b])),
        min(len(theirs), len(ours)),
    )
    lines = difference(theirs[at : at + 1], ours[at : at + 1])
    for text, wrong in exercise.mistakes.items():
        answer = wrong if isinstance(wrong, dict) else dict.fromkeys(exercise.right, wrong)
        if all_same(theirs, exercise.results(**answer)):
            return Verdict(False, False, (*lines, _(text)), text)
    return Verdict(False, False, (*lines, *usual_causes(theirs[at : at + 1], ours[at : at + 1])))


def difference(theirs: Results, ours: Results) -> tuple[str, ...]:
    """Lines that show the first value that differs, beside the expected one."""
    title, value = (theirs or ours)[0]
    if title == "error":
        return (value["text"],)
    if not theirs or not ours:
        return (_(title),)
    own, at = ours[0][1], 0
    if own["form"] == value["form"]:
        pairs = zip(value["numbers"], own["numbers"], strict=True)
        at = next((i for i, (a, b) in enumerate(pairs) if not _close(a, b)), 0)
    return (
        _(title),
        _("  expected  {value}").format(value=shown(own, at)),
        _("  yours     {value}").format(value=shown(value, at)),
    )


def usual_causes(theirs: Results, ours: Results) -> Iterator[str]:
    """A word on what differs, for an answer that is none of the exercise's own mistakes."""
    if not theirs or not ours or theirs[0][0] == "error":
        return
    (form, numbers), (own, expected) = (one[0][1].values() for one in (theirs, ours))
    parts, own_parts = (
        len(one["parts"]) if isinstance(one, dict) and "parts" in one else None
        for one in (form, own)
    )
    if form is None:
        yield _("The function returns None: is a `return` missing?")
    elif isinstance(form, dict) and parts is None:
        yield _("This is of the type {kind}, not a tensor or a number.").format(**form)
    elif parts is not None and own_parts is None:
        yield _("This is a list or tuple; expected is one tensor or number.")
    elif own_parts is not None and parts is None:
        yield _("Expected is a list, and this is none.")
    elif parts != own_parts:
        text = _("The list has {n} parts; expected are {total}.")
        yield text.format(n=parts, total=own_parts)
    elif form != own and expected:
        yield _("The shapes differ: over which axis does each operation go?")
    elif ratio := ratio_of(numbers, expected):
        yield _("Each of your numbers is {ratio} times the expected one.").format(ratio=ratio)


def ratio_of(numbers: list[float], expected: list[float]) -> str:
    """By what all of `expected` are multiplied in `numbers`; empty if by no such number.

    A single number always has a ratio: it counts if it, or what it divides by, is whole.
    """
    ratios = [a / b for a, b in zip(numbers, expected, strict=True) if b]
    if not ratios or not 1e-6 < abs(ratios[0]) < 1e6:  # also not nan
        return ""
    ratio = ratios[0]
    whole = any(abs(one) > 1 and _close(one, round(one), 1e-4) for one in (ratio, 1 / ratio))
    even = all(_close(one, ratio, 1e-4) for one in ratios)
    return f"{ratio:.6g}" if even and (whole or len(ratios) > 1) else ""


def shown(value: Value, at: int = 0) -> str:
    """A plain value as text: at most six numbers of it, from `at` on, and the shapes."""
    form, numbers = value["form"], value["numbers"]
    if not numbers:
        return str(next(iter(form.values())) if isinstance(form, dict) else form)
    at = 0 if len(numbers) <= 6 else at
    # + 0 makes 0 of -0
    text = ", ".join(f"{number + 0:.6g}" for number in numbers[at : at + 6])
    less, more = "..., " if at else "", ", ..." if len(numbers) > at + 6 else ""
    shapes = form["parts"] if isinstance(form, dict) else [form]
    shapes = " ".join(str(tuple(shape)) for shape in shapes if isinstance(shape, list) and shape)
    return f"[{less}{text}{more}] {shapes}".rstrip() if form else text


def gradient(loss: Any, of: torch.Tensor) -> Any:
    """The gradient of a loss, None where there is no way back from it."""
    known = getattr(loss, "requires_grad", False)
    return torch.autograd.grad(loss, of)[0] if known else None


CUT = N_("No gradient comes back: `item`, `tolist`, `detach` and `no_grad` cut the way.")


@cache
def images_of(name: str) -> torch.Tensor:
    """The training images of the class `3` or `7`, float (n, 28, 28) in 0…1."""
    data = sample()
    images, labels = data.train_ds.tensors
    return images[labels == data.classes.index(name)] / 255


@cache
def sample() -> ImageData:
    """The bundled images, loaded once."""
    return load_data()


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of ten digits, float (1000, 28, 28) in 0…1, their labels (1000,), and 200 new images.

    Those of MNIST where it can be loaded; else 3s and 7s, moved sideways, stand for the ten.
    """
    try:
        data = load_data("mnist")
    except MnistlabError:  # a damaged file must not become an error of the learner's
        threes, sevens = images_of("3")[:120], images_of("7")[:120]
        ten = [(sevens if d % 2 else threes).roll(2 * d - 10, -1) for d in range(10)]
        images, labels = torch.cat(ten), torch.arange(10).repeat_interleave(120)
    else:
        part = torch.arange(0, len(data.train_ds), 50)
        images, labels = (tensor[part] for tensor in data.train_ds.tensors)
        images = images / 255
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return images[:1000], labels[:1000], images[1000:]
