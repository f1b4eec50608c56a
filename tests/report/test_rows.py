"""One line an epoch."""

from mnistlab.report.rows import (
    BAND_HEADER,
    HEADER,
    SEED_HEADER,
    band_line,
    epoch_line,
    seed_line,
)


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
    assert row(1_000_000, 1.5e28, 1.0, 1e6).split() == [
        "1000000",
        "1.5000e+28",
        "1.5000e+28",
        "1.000000",
        "1000000.00s",
    ]


def test_rows_of_seeds_stand_under_their_headers() -> None:
    band = {"epoch": 3, "n": 8, "train_loss": 0.25, "valid_loss": 0.5, "seconds": 1.5}
    band |= {"mean": 0.98, "sd": 0.001, "min": 0.97, "max": 0.99}
    assert band_line(band) == (
        "    3    0.250000    0.500000  0.980000  0.001000  0.970000  0.990000    1.50s"
    )
    assert len(band_line(band)) == len(BAND_HEADER)
    assert band_line({**band, "n": 0}) == "    3  every seed has diverged"
    seed = {"seed": 3, "train_loss": 0.25, "valid_loss": 0.5, "accuracy": 0.98, "seconds": 1.5}
    assert seed_line({**seed, "diverged": None}) == (
        "    3    0.250000    0.500000  0.980000    1.50s"
    )
    assert len(seed_line({**seed, "diverged": None})) == len(SEED_HEADER)
    assert seed_line({"seed": 3, "diverged": "training diverged"}) == "    3  training diverged"
