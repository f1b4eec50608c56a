"""Every exercise: its right answers pass however they are written, and its mistakes are told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from mnistlab.errors import DamagedFileError, DataError
from mnistlab.exercises import EXERCISES, kit, load
from mnistlab.exercises.gradients import cubic
from mnistlab.exercises.kit import Verdict, judge, plain_value, sample
from mnistlab.exercises.linear import batch, linear, weights_and_bias
from mnistlab.exercises.training import linear_model
from mnistlab.losses import mnist_loss
from mnistlab.optim import BasicOptim
from mnistlab.storage import weights_sha256
from tests.command import run_in_process
from tests.exercises import answers, answers2

SOLUTIONS = answers.SOLUTIONS | answers2.SOLUTIONS
WRONG = answers.WRONG | answers2.WRONG


def numbered(answers: Mapping[str, Sequence[Any]]) -> list[Any]:
    """A case for each answer, with the name of its exercise."""
    return [
        pytest.param(name, answer, id=f"{name}-{number}")
        for name, all_ in answers.items()
        for number, answer in enumerate(all_)
    ]


def functions_of(name: str, code: str) -> dict[str, Any]:
    """What the learner's file defines: the code that it starts with, and `code` below it."""
    exercise = load(name)
    names: dict[str, Any] = {"__name__": "learner"}
    exec(compile(exercise.file_code + code, f"{name}.py", "exec"), names)
    return {own: names[own] for own in exercise.right}


def verdict_of(name: str, code: str) -> Verdict:
    exercise = load(name)
    return judge(exercise, exercise.results(**functions_of(name, code)))


@pytest.mark.parametrize(("name", "code"), numbered(SOLUTIONS))
def test_a_right_answer_passes_however_it_is_written(name: str, code: str) -> None:
    verdict = verdict_of(name, code)
    assert verdict.passed, verdict.message


@pytest.mark.parametrize(("name", "wrong"), numbered(WRONG))
def test_a_wrong_answer_is_told_by_its_mistake(name: str, wrong: tuple[str, str]) -> None:
    code, part = wrong
    verdict = verdict_of(name, code)
    assert not verdict.passed
    assert part in verdict.mistake, verdict.message
    assert verdict.message[-1] == verdict.mistake


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_is_solved_and_every_mistake_is_made(name: str) -> None:
    assert name in SOLUTIONS
    told = [text for text in load(name).mistakes for _, part in WRONG[name] if part in text]
    assert set(told) == set(load(name).mistakes)
    assert len(told) == len(WRONG[name]), "a part that stands in two mistakes tells neither"


def test_there_are_as_many_as_were_asked_for() -> None:
    assert sum(map(len, SOLUTIONS.values())) >= 30
    assert sum(map(len, WRONG.values())) >= 60


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_reads_well(name: str) -> None:
    exercise = load(name)
    texts = [*exercise.task.splitlines(), *exercise.hints.splitlines(), *exercise.mistakes]
    assert len(exercise.hints.splitlines()) == 3
    assert max(map(len, texts)) <= 100
    assert all(text == text.strip() and text.isascii() for text in texts)
    assert "..." in exercise.file_code
    assert not verdict_of(name, "").passed  # the file as it was written


# What the tool's own answers are compared with: figures worked out by hand, finite differences.


def slopes(loss: Any, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of `loss(*tensors)`, by moving each number a little up and down."""
    found = []
    for one in tensors:
        slope = torch.zeros_like(one)
        for i in range(one.numel()):
            at = [part.clone() for part in tensors]
            moved = next(new for new, old in zip(at, tensors, strict=True) if old is one).view(-1)
            moved[i] += 1e-6
            above = loss(*at)
            moved[i] -= 2e-6
            slope.view(-1)[i] = (above - loss(*at)) / 2e-6
        found.append(slope)
    return found


def test_the_derivative_is_that_of_the_chapter() -> None:
    x = torch.tensor([1.5, 3, 4, 10], dtype=torch.float64)
    assert load("derivative").right["derivative"](x).tolist() == pytest.approx([26.5, 76, 124, 664])
    [slope] = slopes(lambda x: cubic(x).sum(), x)
    assert slope.tolist() == pytest.approx([26.5, 76, 124, 664])


def test_the_gradient_of_the_parabola_by_finite_differences() -> None:
    right, t = load("mse").right, torch.arange(20, dtype=torch.float64)
    [slope] = slopes(
        lambda params: right["mse"](right["f"](t, params), 0.75 * (t - 9.5) ** 2 + 1),
        torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64),
    )
    _, ours = load("mse").results()[-1]
    assert ours["numbers"] == pytest.approx(slope.tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["mnist_loss", "calc_grad"])
def test_the_gradients_of_the_linear_model_by_finite_differences(name: str) -> None:
    def mean_distance(*parameters: torch.Tensor) -> torch.Tensor:
        probs = 1 / (1 + (-linear(xb.double(), *parameters)).exp())
        return torch.where(yb == 1, 1 - probs, probs).mean()

    weights, bias = (one.detach().double() for one in weights_and_bias())
    if name == "mnist_loss":
        xb, yb = batch(50)
        expected = slopes(mean_distance, weights, bias)[0]
        ours = load(name).results()[2][1]
    else:
        xb, yb = batch(2)
        of_weights, of_bias = slopes(mean_distance, weights, bias)
        expected = torch.cat([of_bias, of_weights.flatten()])
        ours = load(name).results()[0][1]
    assert ours["numbers"] == pytest.approx(expected.flatten().tolist(), abs=1e-6)


def test_five_steps_of_the_roller_coaster_by_hand() -> None:
    t = [float(second) for second in range(20)]
    speed = [0.75 * (second - 9.5) ** 2 + 1 for second in t]
    a, b, c, losses = 1.0, -10.0, 20.0, []
    for _ in range(5):
        errors = [a * x * x + b * x + c - y for x, y in zip(t, speed, strict=True)]
        losses.append(sum(error**2 for error in errors) / 20)
        a, b, c = (
            old - 1e-5 * sum(2 * error * x**power for error, x in zip(errors, t, strict=True)) / 20
            for old, power in ((a, 2), (b, 1), (c, 0))
        )
    (_, ours), (_, params) = load("seven_steps").results()
    assert ours["numbers"] == pytest.approx(losses, rel=1e-5)
    assert params["numbers"] == pytest.approx([a, b, c], rel=1e-5)


# The judge itself


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def accuracy(answers, targets):\n    (answers == targets).sum()\n", "returns None"),
        ("def accuracy(answers, targets):\n    return torch.ones(3)\n", "shapes differ"),
        ("def accuracy(answers, targets):\n    return [0.4]\n", "This is a list or tuple"),
        ("def accuracy(answers, targets):\n    return float('inf')\n", "  yours     inf"),
        ("def accuracy(answers, targets):\n    return 1e-310\n", "  yours     1e-310"),
        ("def accuracy(answers, targets):\n    return {1: 2}\n", "of the type dict"),
        (
            "def accuracy(answers, targets):\n    return 3 * (answers == targets).float().mean()\n",
            "is 3 times the expected one",
        ),
        ("def accuracy(answers, targets):\n    return targets.no\n", "has no attribute 'no'"),
        ("def accuracy(answers, targets):\n    return 'all'\n", "  yours     all"),
        ("def accuracy(answers, targets):\n    return float('nan')\n", "  yours     nan"),
        ("def accuracy(answers):\n    return 1.0\n", "TypeError"),
    ],
)
def test_what_is_said_of_an_answer_that_is_no_classic_mistake(code: str, said: str) -> None:
    verdict = verdict_of("accuracy", code)
    assert not verdict.passed
    assert verdict.mistake == ""
    assert any(said in line for line in verdict.message), verdict.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (torch.tensor, "Expected is a list, and this is none."),
        (lambda losses: losses[:-1], "The list has 4 parts; expected are 5."),
        (
            lambda losses: [2.5 * loss for loss in losses],
            "Each of your numbers is 2.5 times the expected one.",
        ),
    ],
)
def test_what_is_said_of_a_list_that_differs(changed: Callable[..., Any], said: str) -> None:
    exercise = load("seven_steps")
    right = exercise.right["seven_steps"]
    results = exercise.results(seven_steps=lambda *given: changed(right(*given)))
    assert judge(exercise, results).message[-1] == said


def test_a_single_number_is_a_multiple_only_by_a_whole_one() -> None:
    for factor, told in ((100.0, True), (0.25, True), (1.07, False)):
        shares = load("accuracy").right["accuracy"]
        results = load("accuracy").results(accuracy=lambda a, b, f=factor, s=shares: f * s(a, b))
        lines = judge(load("accuracy"), results).message
        assert any("times the expected one" in line for line in lines) == told, lines


@pytest.mark.parametrize(("factor", "passed"), [(1.000005, True), (1.00002, False)])
def test_numbers_may_differ_by_one_in_a_hundred_thousand(factor: float, passed: bool) -> None:
    code = "def accuracy(answers, targets):\n    return (answers == targets).double().mean()"
    verdict = verdict_of("accuracy", f"{code} * {factor}\n")
    assert verdict.passed == passed
    assert not verdict.exact


def test_another_error_than_that_of_a_mistake_is_not_taken_for_it() -> None:
    verdict = verdict_of("step", "def step(param, lr):\n    torch.ones(2) @ torch.ones(3)\n")
    assert verdict.mistake == ""
    assert "RuntimeError: " in verdict.message[0]


def test_what_differs_is_shown_from_where_it_differs() -> None:
    code = """
def mean_image(images):
    mean = images.mean(0)
    if mean.ndim and mean.shape[0] == 28:
        mean[14, 14] = 7
    return mean
"""
    title, expected, yours = verdict_of("mean_image", code).message
    assert title == "the mean 3 of 500 images"
    assert expected.startswith("  expected  [..., 0.")
    assert yours.startswith("  yours     [..., 7, ")
    assert yours.endswith(", ...] (28, 28)")


def test_a_value_as_plain_data() -> None:
    tensor = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert plain_value(tensor) == {"form": [1, 2], "numbers": [1.0, 2.0]}
    assert plain_value([True, (1, None)]) == {
        "form": {"parts": [[], {"parts": [[], None]}]},
        "numbers": [1.0, 1.0],
    }
    assert plain_value(print)["form"] == {"kind": "builtin_function_or_method"}


def test_a_learner_of_the_same_operations_ends_with_the_weights_of_book_linear() -> None:
    verdict = verdict_of("learner", SOLUTIONS["learner"][0])
    assert verdict.exact
    assert "\n".join(verdict.message) == load("learner").honour
    # and what it was compared with is what the command trains
    model = linear_model()
    load("learner").right["Learner"](None, model, BasicOptim, mnist_loss).fit(20, 1.0)
    trained = run_in_process("train", "--config", "book-linear", "--json").ok().json
    assert weights_sha256(model.state_dict()) == trained["weights_sha256"]
    # another order of operations is as right, but no longer the same to the last bit
    other = SOLUTIONS["learner"][0].replace("self.loss_func(", "3 * self.loss_func(")
    other = other.replace("parameters(), lr)", "parameters(), lr / 3)")
    verdict = verdict_of("learner", other)
    assert (verdict.passed, verdict.exact, verdict.message) == (True, False, ())


@pytest.mark.parametrize("error", [DataError("mnist", ["not here"]), DamagedFileError("damaged")])
def test_where_mnist_cannot_be_loaded_others_stand_for_the_ten_digits(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_data(name: str) -> None:
        raise error

    sample()  # loaded before it is replaced
    monkeypatch.setattr(kit, "load_data", load_data)
    images, labels, new = kit.digits.__wrapped__()
    assert (images.shape, labels.shape, new.shape) == ((1000, 28, 28), (1000,), (200, 28, 28))
    assert labels.unique().tolist() == list(range(10))
