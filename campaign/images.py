"""Small image folders for trials."""

from pathlib import Path

from PIL import Image


def make_folders(root: Path, images: int = 12, side: int = 8) -> Path:
    """Write PNG files of two classes, `dark` and `light`: `images` a class to train, a third of it
    to validate, side x side pixels. The same every time."""
    for split, count in (("train", images), ("valid", max(images // 3, 2))):
        for k, name in enumerate(("dark", "light")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = Image.new("L", (side, side), 60 + 130 * k + i % 7)
                image.putpixel((i % side, i * 3 % side), (i * 37 + k * 11) % 256)
                image.save(folder / f"{i:04}.png")
    return root
