"""Images of any size → images of one size."""

from PIL import Image

from mnistlab.config import Fit

DEFAULT_SIZE = (28, 28)  # of images that come in several sizes
_SMOOTH = Image.Resampling.LANCZOS  # it looks at all pixels under a new one: no aliasing
_GAP = 3.0  # times the new size: down to that by whole factors, which is faster


def fitted(image: Image.Image, image_size: tuple[int, int], how: Fit) -> Image.Image:
    """A mode `L` image brought to (H, W).

    `pad` keeps proportions and everything, and fills the rest with the level of the image's own
    rim; `crop` keeps proportions and cuts off what does not fit, on both sides alike; `stretch`
    keeps everything and no proportions. Where they agree, in images of that shape, they are the
    same. `ink` finds the ink of a drawing or a photo of handwriting, makes it white on black and
    frames it as MNIST does; raises NoInkError where there is none.
    """
    height, width = image_size
    if how == "ink":
        from mnistlab.data.handwriting import prepare  # with scipy, which the others do without

        return Image.fromarray(prepare(image, image_size, 0.0, how="always").levels)
    if image.size == (width, height):
        return image
    if how == "stretch":
        return image.resize((width, height), _SMOOTH, reducing_gap=_GAP)
    if how == "crop":
        from PIL import ImageOps  # which a warm start does without

        return ImageOps.fit(image, (width, height), _SMOOTH)
    factor = min(width / image.width, height / image.height)
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    small = image.resize(size, _SMOOTH, reducing_gap=_GAP)
    level = rim_level(small)
    framed = Image.new("L", (width, height), level)
    framed.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    return framed


def rim_level(image: Image.Image) -> int:
    """The median of the pixels along the border of a mode `L` image."""
    levels, width = image.tobytes(), image.width  # of small images, numpy takes three times as long
    inner = levels[width:-width]
    rim = sorted(levels[:width] + levels[-width:] + inner[::width] + inner[width - 1 :: width])
    return (rim[(len(rim) - 1) // 2] + rim[len(rim) // 2]) // 2
