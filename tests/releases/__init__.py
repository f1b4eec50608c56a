"""Run folders of the releases, which every later version must open, predict and go on with.

Each folder here is a release, made by the code of that release with `python -m tests.releases`:
its runs, and in `expected.json` what that release said of them. They are never made again.

0.1 was a week without a release: `0.1-first` is of commit 7469aa6, the oldest whose runs of every
model open, `0.1-last` of 470b704; tests/golden has runs of a commit between them.
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
EXPECTED = "expected.json"
IMAGES = ("tiny/valid/left/0.png", "tiny/valid/right/3.png")


def make_images() -> None:
    """The images of most of the runs, as `tiny` in the current folder: never to be changed.

    Of 12 x 12 pixels, in two classes: the left or the right half is brighter than the other.
    """
    for split, count in (("train", 12), ("valid", 4)):
        for bright, name in enumerate(("left", "right")):
            folder = Path("tiny", split, name)
            folder.mkdir(parents=True)
            for i in range(count):
                image = Image.new("L", (12, 12))
                for x in range(12):
                    for y in range(12):
                        half = 60 * (bright == x // 6)
                        image.putpixel((x, y), half + (i * 37 + x * 53 + y * 71 + x * y * i) % 150)
                image.save(folder / f"{i}.png")
