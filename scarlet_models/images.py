"""Image files in folders and tars, and images of any common kind as 8-bit RGB.

An image that cannot be read gives one line that says why.
"""

import io
import os
import stat
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from scarlet_models.errors import UserError, as_user_error, first_line

# Only decoders: Pillow also knows formats, such as EPS, for which it starts other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
MOST_PIXELS = 100_000_000
LONGEST_SHAPE = 200  # ratio of the sides: resizing the shorter one to the network's size makes the longer one enormous
_TURNS = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE}
_TURNS |= {6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90}  # by EXIF's orientation

Place = tuple[int, int, int, int]  # offset and size of an image in a file; that file's mtime and ctime in ns


def find_images(name: str) -> Iterator[Path]:
    """The images in and below a folder, by suffix, sorted. Any other path, and a folder without images, as it is."""
    path = Path(name)
    with as_user_error(f"cannot read {name}", OSError):
        files = files_in(path) if path.is_dir() else ()
        inside = sorted(path / file for file, place in files if place and is_image(file))
    yield from inside or [path]


def is_image(file: PurePath) -> bool:
    """Whether a name is an image's, by its suffix; hidden files, which systems put beside images, are none."""
    return file.suffix.lower() in SUFFIXES and file.name[0] != "."


def files_in(root: Path) -> Iterator[tuple[PurePath, Place | None]]:
    """The files in and below a folder or uncompressed tar, by their paths in it, with no place for FIFOs and devices.

    Raises OSError and TarError.
    """
    if not root.is_file():
        yield from _in_folder(root)
        return
    status = root.stat()
    with tarfile.open(root, "r:") as archive:
        for name, offset, size in _members(archive, PurePosixPath(), 0):
            yield name, (offset, size, status.st_mtime_ns, status.st_ctime_ns)


def read_file(root: Path, name: str, place: Sequence[int]) -> bytes:
    """The content of such a file, by a handle of its own, as processes would move a shared one; UserError if none."""
    try:
        with (root if root.is_file() else root / name).open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])
    except OSError as error:
        raise UserError(error.strerror or first_line(error)) from error


def _in_folder(root: Path) -> Iterator[tuple[PurePath, Place | None]]:
    """The files below a folder. Follows links to folders, but not back to a folder that leads there."""
    for place, folders, files in os.walk(root, followlinks=True, onerror=_raise):
        folder = Path(place)
        if any(folder.samefile(above) for above in folder.parents if above.is_relative_to(root)):
            folders.clear()
            continue
        folders[:] = [name for name in folders if name[0] != "."]
        yield from ((path.relative_to(root), _place(path)) for path in map(folder.joinpath, files))


def _raise(error: OSError) -> None:
    raise error


def _place(path: Path) -> Place | None:
    """The place of a file; None for FIFOs and devices, which may never end."""
    try:
        status = path.stat()
    except OSError:  # a broken link: reading it says so
        return 0, 0, 0, 0
    is_file = stat.S_ISREG(status.st_mode)
    return (0, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if is_file else None


def _members(archive: tarfile.TarFile, above: PurePosixPath, start: int) -> Iterator[tuple[PurePosixPath, int, int]]:
    """Names, offsets and sizes of the files in a tar, and in tars in it, which stand for folders."""
    for member in filter(tarfile.TarInfo.isreg, archive):
        name, offset = above / member.name, start + member.offset_data
        if name.suffix.lower() == ".tar":
            with tarfile.open(fileobj=archive.extractfile(member), mode="r:") as inner:
                yield from _members(inner, name.with_suffix(""), offset)
        else:
            yield name, offset, member.size


def read_image(source: Path | bytes, upright: bool = True) -> Image.Image:
    """An image as 8-bit RGB: an animation's first frame, turned by its EXIF if `upright`.

    What is wrong with it is a UserError, to which the caller adds the name.
    """
    with _opened(source) as image:
        return _to_rgb(turn_upright(image) if upright else image)


def check_image(content: bytes) -> tuple[int, int]:
    """Width and height of an image, upright, once all of it was decoded; UserError as `read_image`."""
    with _opened(content) as image:
        width, height = image.size
        image.draft(None, (1, 1))  # a JPEG at an eighth, which is faster and takes all of the file
        _to_rgb(image)
        return (height, width) if _orientation(image) in range(5, 9) else (width, height)


def turn_upright(image: Image.Image) -> Image.Image:
    """The image, turned and mirrored as its EXIF says; the copy says nothing any more."""
    image.load()  # Pillow turns a TIFF here
    if (turn := _TURNS.get(_orientation(image))) is None:
        return image
    turned = image.transpose(turn)  # ImageOps.exif_transpose writes the EXIF anew, which fails for damaged ones
    turned.info.clear()
    return turned


def _orientation(image: Image.Image) -> Any:
    """1 to 8, of which those from 5 on exchange width and height; 1 where there is no EXIF, or a damaged one."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of many kinds
        return 1


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
