"""One line an epoch."""

from mnistlab.report.rows import HEADER, epoch_line


def row(epoch: int, loss: float, accuracy: float, seconds: float) -> str:
    return epoch_line(
        {
            "epoch": epoch,
            "train_loss": loss,
            "valid_loss": loss,
            "accuracy": accuracy,
            "seconds": seconds,
        }
    )


def test_a_line_stands_under_its_header() -> None:
    assert HEADER == "epoch  train_loss  valid_loss  accuracy     time"
    assert row(3, 0.25, 0.98, 1.5) == "    3    0.250000    0.250000  0.980000    1.50s"
    assert len(row(99_999, 123.4, 1.0, 999.9)) == len(HEADER)


def test_large_figures_are_never_cut() -> None:
    assert row(1_000_000, 1e10, 1.0, 1e6).split() == [
        "1000000",
        "10000000000.000000",
        "10000000000.000000",
        "1.000000",
        "1000000.00s",
    ]
