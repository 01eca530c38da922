"""The image files of a data set: finding them by the names that annotations give, measuring, decoding, checking."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from anchorkit.errors import InputError

ImageArray = npt.NDArray[np.uint8]
ImageReader = Callable[[Mapping[str, Any]], ImageArray]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
"""Endings of image files, in lower case."""

FOLDERS = ("images", "jpegimages", "image", "img", "imgs", "pictures", "photos", "data")
"""What folders of images are called, in lower case, the usual first."""

# What Pillow raises for files that are no images, or only parts of one.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)
# How an EXIF orientation of 2 to 8 is undone. From 5 on, width and height change places.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_END_OF_JPEG = b"\xff\xd9"
# Label Studio puts eight hexadecimal digits in front of the name of each upload.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does. Hidden files, such as those of macOS (``._a.jpg``), are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def plain_name(name: str, source: str | Path) -> str:
    """A file name that can be written to reports and tables.

    Raises:
        InputError: it is not valid Unicode.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{source}: the file name {name!r} is not valid UTF-8; rename the file") from None
    return name


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name, but for hidden ones and macOS's; none if it is no folder itself."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")) and entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def named_folders(folder: Path, names: Sequence[str]) -> list[Path]:
    """The folders in a folder that have one of these names, in any letter case, in the order of the names."""
    there = subfolders(folder)
    return [path for name in names for path in there if path.name.lower() == name]


@dataclass(frozen=True)
class FolderImages:
    """Image files found by name in some folders; reads as a split's images.

    A name is tried as written, then as other systems write it (backslashes, percent signs of a URL, Label Studio's
    ``?d=``), then without its leading folders, one by one; all of this exactly and then in any letter case. The first
    spelling that is a file in one of the folders is taken.

    Attributes:
        folders: where files may lie, the likeliest first.
        names: all names of the split's images.
        upright: decode images as EXIF says they are to be seen, even if another size is annotated.
        ambiguous: names that are found only by leaving folders out and share that file with another name: that name.
    """

    folders: tuple[Path, ...]
    names: tuple[str, ...] = ()
    upright: bool = False
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    _listings: dict[str, dict[str, list[str]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def find(self, name: str) -> Path | None:
        """The path of an image file, or None if it is nowhere."""
        return None if name in self.ambiguous else self._locate(name)[0]

    def _locate(self, name: str) -> tuple[Path | None, bool]:
        """The path of a file, and whether the whole name led to it."""
        whole, shorter = _spellings(name)
        for place in (_exactly, self._loosely):
            for spellings in (whole, shorter):
                for spelling in spellings:
                    for folder in self.folders:
                        path = place(folder, spelling)
                        if path is not None:
                            return path, spellings is whole
        return None, False

    def _loosely(self, folder: Path, name: str) -> Path | None:
        """The one file whose name differs in nothing but letter case or in how accents are coded."""
        path = str(folder)
        for part in name.split("/"):
            if path not in self._listings:
                listing: dict[str, list[str]] = {}
                try:
                    for found in os.listdir(path):
                        listing.setdefault(_fold(found), []).append(found)
                except OSError:
                    pass
                self._listings[path] = listing
            same = self._listings[path].get(_fold(part), ())
            if len(same) != 1:
                return None
            path = os.path.join(path, same[0])
        return Path(path) if os.path.isfile(path) else None

    def missing(self) -> str | None:
        """One sentence on the images that are not found, or None if there are none."""
        lost = [name for name in self.names if self.find(name) is None]
        return self._lost(lost, len(self.names)) if lost else None

    def _lost(self, lost: Sequence[str], total: int) -> str:
        doubtful = [name for name in lost if name in self.ambiguous]
        if doubtful:
            return (
                f"{len(lost)} of {total} images are not found: {len(doubtful)} share a file with another name, as "
                f"{doubtful[0]} and {self.ambiguous[doubtful[0]]}, of which only {self._locate(doubtful[0])[0]} is "
                "there; restore the folders that the names begin with"
            )
        there = [str(folder) for folder in self.folders if folder.is_dir()] or [str(self.folders[0])]
        more = f" and {len(there) - 6} more folders" if len(there) > 6 else ""
        return (
            f"{len(lost)} of {total} images are not found, such as {lost[0]}; looked in {', '.join(there[:6])}{more}, "
            "with and without the folders in the name"
        )

    def faults(self, entries: Iterable[Mapping[str, Any]]) -> str | None:
        """One sentence on the images that are missing, cannot be decoded or have another size, or None.

        Reads headers and the ends of files, and decodes only where those do not tell whether a file is whole.

        Args:
            entries: the images' entries in a COCO dict.
        """
        total, lost, broken, misfit = 0, [], [], []
        for entry in entries:
            total += 1
            name = entry["file_name"]
            path = self.find(name)
            if path is None:
                lost.append(name)
                continue
            try:
                size = _check_file(path)
            except _UNREADABLE as error:
                broken.append(f"{path}: {_reason(error)}")
                continue
            wanted = (entry["height"], entry["width"])
            if size != wanted and (size[::-1] != wanted or not _is_turned(path)):
                misfit.append(f"{path}: {size[1]}x{size[0]}, annotated {wanted[1]}x{wanted[0]}")
        parts = [self._lost(lost, total)] if lost else []
        if broken:
            parts.append(f"{len(broken)} of {total} images cannot be decoded ({broken[0]})")
        if misfit:
            parts.append(f"{len(misfit)} of {total} images have another size than annotated ({misfit[0]})")
        return "; ".join(parts) or None

    def __call__(self, entry: Mapping[str, Any]) -> ImageArray:
        name = entry["file_name"]
        path = self.find(name)
        if path is None:
            lost = self.missing() or self._lost([name], 1)
            raise InputError(
                f"{self.folders[0] / name}: no such image; {lost}; put the files there, or take them out of the "
                "annotations"
            )
        return decode_image(path, str(path), self.upright, (entry["height"], entry["width"]))


def find_images(splits: Mapping[str, tuple[Iterable[str], Iterable[Path]]]) -> dict[str, FolderImages]:
    """The images of each split, from the names and folders of each.

    A file that several names lead to, of one split or of two, belongs to those that lead there as they are written;
    names that had to be shortened for it are ambiguous.
    """
    readers = {
        split: FolderImages(tuple(folders), tuple(dict.fromkeys(names))) for split, (names, folders) in splits.items()
    }
    owners: dict[Path, dict[str, None]] = {}
    shortened: dict[str, dict[str, Path]] = {split: {} for split in readers}
    for split, images in readers.items():
        for name in images.names:
            path, whole = images._locate(name)
            if path is not None:
                owners.setdefault(path, {})[name] = None
                if not whole:
                    shortened[split][name] = path
    return {
        split: replace(
            images,
            ambiguous={
                name: next(other for other in owners[path] if other != name)
                for name, path in shortened[split].items()
                if len(owners[path]) > 1
            },
        )
        for split, images in readers.items()
    }


def decode_image(
    source: Path | IO[bytes], name: str, upright: bool = False, size: tuple[int, int] | None = None
) -> ImageArray:
    """Decode an image file to uint8 (H, W, 3) RGB; greyscale, palette and CMYK images are converted.

    Args:
        source: path or open file.
        name: what to call the image in errors.
        upright: turn the image as its EXIF orientation says. Otherwise pixels stay as they are stored, unless
            only the turned image has the annotated size.
        size: (height, width) as annotated, if known.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
    try:
        with Image.open(source) as opened:
            image: Image.Image = opened
            stored = (opened.height, opened.width)
            if upright or (size is not None and stored != size and stored[::-1] == size):
                way = _UPRIGHT.get(_orientation(opened))
                image = opened if way is None else opened.transpose(way)
            if image.mode.startswith("I;16") or image.mode == "I":
                # Pillow clips 16-bit greyscale at 255 when it converts; scale the full range down instead.
                values = np.asarray(image, dtype=np.float64) / 257.0
                grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{name}: no such image; put the file there, or take it out of the annotations") from None
    except _UNREADABLE as error:
        raise InputError(
            f"{name}: the image cannot be decoded ({_reason(error)}); replace the file, or take it out of the "
            "annotations"
        ) from None


def read_image_size(path: Path, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an image file, from its header; with `upright`, as its EXIF orientation says.

    Raises:
        InputError: the file is missing or is not an image.
    """
    try:
        with Image.open(path) as image:
            turned = upright and _orientation(image) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; put the file there, or take it out of the annotations") from None
    except _UNREADABLE:
        raise InputError(
            f"{path}: the image cannot be decoded; replace the file, or take it out of the annotations"
        ) from None


def _check_file(path: Path) -> tuple[int, int]:
    """(height, width) of an image file that is whole; raises what Pillow raises if it is not."""
    with Image.open(path) as image:
        size = (image.height, image.width)
        if image.format == "PNG":
            image.verify()  # reads checksums, decodes nothing
            return size
        if image.format in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(max(os.path.getsize(path) - 4096, 0))
                if _END_OF_JPEG in file.read():
                    return size
        image.load()
        return size


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        found = image.getexif().get(0x0112)
    except Exception:  # broken EXIF raises almost anything, and says nothing about the pixels
        return 1
    return found if isinstance(found, int) and found in _UPRIGHT else 1


def _is_turned(path: Path) -> bool:
    with Image.open(path) as image:
        return _orientation(image) >= 5


def _spellings(name: str) -> tuple[list[str], list[str]]:
    """The ways to write a whole file name, and what is left of them without leading folders."""
    plain = name.replace("\\", "/").lstrip("\ufeff")  # written on Windows
    whole = [name, plain]
    if "?d=" in plain:
        whole.append(unquote(plain.partition("?d=")[2]).replace("\\", "/"))
    if "://" in plain:
        with contextlib.suppress(ValueError):  # not every text with :// is an address
            whole.append(unquote(urlsplit(plain).path).lstrip("/"))
    if "%" in plain:
        whole.append(unquote(plain))
    shorter = []
    for form in whole[1:]:
        parts = [part for part in form.split("/") if part not in ("", ".", "..")]
        shorter += ["/".join(parts[start:]) for start in range(len(parts))]
    shorter += [_UPLOAD_PREFIX.sub("", last) for last in shorter if "/" not in last]
    whole = list(dict.fromkeys(whole))
    return whole, [form for form in dict.fromkeys(shorter) if form not in whole]


def _exactly(folder: Path, name: str) -> Path | None:
    path = os.path.join(folder, name)
    return Path(path) if os.path.isfile(path) else None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
