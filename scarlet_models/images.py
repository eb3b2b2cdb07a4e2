"""Reading images of any common kind as 8-bit RGB. An image that cannot be read gives one line that says why."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scarlet_models.errors import UserError, first_line

# Only decoders: Pillow also knows formats, such as EPS, for which it starts other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
MOST_PIXELS = 100_000_000
LONGEST_SHAPE = 200  # ratio of the sides: resizing the shorter one to the network's size makes the longer one enormous


def find_images(name: str) -> Iterator[Path]:
    """The images in and below a folder, by suffix, sorted. Any other path, and a folder without images, as it is."""
    path = Path(name)
    inside = sorted(found for found in path.rglob("*") if found.suffix.lower() in SUFFIXES and found.is_file())
    yield from inside or [path]


def read_image(source: Path | bytes, upright: bool = True) -> Image.Image:
    """An image as 8-bit RGB: an animation's first frame, turned by its EXIF if `upright`.

    What is wrong with it is a UserError, to which the caller adds the name.
    """
    with _opened(source) as image:
        return _to_rgb(ImageOps.exif_transpose(image) if upright else image)


def check_image(content: bytes) -> tuple[int, int]:
    """Width and height of an image, as its pixels are stored, once all of it was decoded; UserError as `read_image`."""
    with _opened(content) as image:
        size = image.size
        image.draft(None, (1, 1))  # a JPEG at an eighth, which is faster and takes all of the file
        _to_rgb(image)
        return size


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """An image that is not decoded yet. What goes wrong with it then is a UserError too."""
    if isinstance(source, Path):
        _check_file(source)
    elif not source:
        raise UserError("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about size, which is checked here, and about broken EXIF
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as image:
                _check_size(image)
                yield image
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"not an image, or none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise UserError(f"too large: more than {MOST_PIXELS // 10**6} million pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:  # what Pillow raises for broken files
        reason = getattr(error, "strerror", None) or f"damaged: {first_line(error)}"
        raise UserError(reason) from None


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError("no such file or folder")
    if path.is_dir():
        raise UserError(f"no images in this folder ({' '.join(sorted(SUFFIXES))})")
    if not path.is_file():
        raise UserError("not a regular file; pipe an image in with -")


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UserError(f"too large: {width} x {height} is more than {MOST_PIXELS // 10**6} million pixels")
    if max(width, height) > LONGEST_SHAPE * min(width, height):
        raise UserError(f"too narrow: {width} x {height}; cut it to less than {LONGEST_SHAPE} to 1")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UserError("floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits: Pillow's convert would clip them instead of scaling
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("32-bit pixels; save it with 8 or 16 bits")
        image = Image.fromarray((values // 257).astype(np.uint8))
    return image.convert("RGB")
