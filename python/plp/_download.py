"""Fetches the published archives of CIFAR: checked before use, unpacked safely, in place whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path

from ._plp import Error
from ._progress import byte_progress
from ._tables import printable


@dataclass(frozen=True)
class Archive:
    """A published archive: where it is, what it hashes to, the folder and the files it unpacks to."""

    url: str
    md5: str
    folder: str
    files: frozenset[str]


ARCHIVES = {
    "cifar100": {
        "python": Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            "cifar-100-python",
            frozenset({"meta", "train", "test"}),
        ),
        "binary": Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            "cifar-100-binary",
            frozenset({"train.bin", "test.bin", "fine_label_names.txt", "coarse_label_names.txt"}),
        ),
    },
    "cifar10": {
        "python": Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "cifar-10-batches-py",
            frozenset({"batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))}),
        ),
        "binary": Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            "cifar-10-batches-bin",
            frozenset({"batches.meta.txt", "test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6))}),
        ),
    },
}

TIMEOUT = 30  # seconds without a byte before the connection counts as lost
CHUNK = 1 << 18
MOST = 1 << 28  # bytes of an archive; the published ones have 169 million
ADVICE = "check the network, or unpack the archive into the data folder by hand"


def cache() -> Path:
    """The user's folder for what can be fetched again, such as ``~/.cache/plp``."""
    return user_cache_path("plp", appauthor=False)


def download(
    folder: str | os.PathLike[str] | None = None,
    layout: str = "python",
    *,
    dataset: str = "cifar100",
    url: str | None = None,
    progress: bool = True,
) -> Path:
    """Fetches and unpacks CIFAR-100 or CIFAR-10 into ``folder``; does nothing where it is already there.

    Args:
        folder: where the archive's own folder, such as ``cifar-100-python/``, is to be; made if need be. None for the
            user's cache, where :func:`plp.datasets.cifar100` finds it from any folder.
        layout: ``"python"`` or ``"binary"`` (170 MB each); they hold the same images.
        dataset: ``"cifar100"`` or ``"cifar10"``.
        url: a mirror to fetch from, in place of the University of Toronto's server. The MD5 must be the same.
        progress: whether to show a progress bar.

    Returns:
        The folder the data set lies in.

    Raises:
        ValueError: the data set or the layout is unknown.
        ConnectionError: the server cannot be reached, does not have the file, or the connection broke off.
        plp.Error: what arrived is not the published archive: it is larger, or its MD5 differs.
        OSError: the files cannot be written.
    """
    for name, value, known in ("dataset", dataset, ARCHIVES), ("layout", layout, ARCHIVES["cifar100"]):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, known))}")
    archive = ARCHIVES[dataset][layout]
    url = url or archive.url
    target = Path(cache() if folder is None else folder) / archive.folder
    if all((target / name).is_file() for name in archive.files):
        return target

    target.parent.mkdir(parents=True, exist_ok=True)
    # Everything happens in a folder beside the target, on the same file system, so that the last step is one rename.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as workplace:
        packed = Path(workplace) / "archive.tar.gz"
        digest = _fetch(url, packed, progress)
        if digest != archive.md5:
            raise Error(
                f"{url} gave {packed.stat().st_size:,} bytes with MD5 {digest}, expected {archive.md5}: "
                "damaged on the way or not the published archive; nothing was kept"
            )
        unpacked = Path(workplace) / archive.folder
        _extract(packed, unpacked, archive)
        if target.exists():  # an incomplete copy from elsewhere: its missing files are added
            for name in archive.files:
                os.replace(unpacked / name, target / name)
        else:
            os.rename(unpacked, target)
    return target


def _fetch(url: str, path: Path, progress: bool) -> str:
    """Writes what ``url`` gives to ``path`` and returns its MD5."""
    md5 = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
            expected = _length(url, response.headers.get("Content-Length"))
            received = 0
            with byte_progress(url.rsplit("/", 1)[-1], expected, progress) as advance:
                while chunk := response.read(CHUNK):
                    received += len(chunk)
                    _require_size(url, received)
                    file.write(chunk)
                    md5.update(chunk)
                    advance(len(chunk))
    except urllib.error.HTTPError as error:
        reason = printable(error.reason)
        raise ConnectionError(f"{url}: the server answered {error.code} ({reason}); {ADVICE}") from None
    except urllib.error.URLError as error:
        raise ConnectionError(f"cannot reach {url}: {error.reason}; {ADVICE}") from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise ConnectionError(printable(f"lost the connection to {url}: {error}; {ADVICE}")) from None
    if expected is not None and received != expected:
        raise ConnectionError(f"{url} broke off after {received:,} of {expected:,} bytes; {ADVICE}")
    return md5.hexdigest()


def _length(url: str, header: str | None) -> int | None:
    """How many bytes the server says it will send."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit()):
        raise Error(f"{url}: the server says Content-Length {header!r:.40}, expected a number of bytes; {ADVICE}")
    length = int(header[:19])
    _require_size(url, length)
    return length


def _require_size(url: str, size: int) -> None:
    if size > MOST:
        raise Error(f"{url}: found more than {MOST:,} bytes, expected the published archive; nothing was kept")


def _extract(packed: Path, target: Path, archive: Archive) -> None:
    """Takes the files by name, so that no path, link or device in an archive is ever followed."""
    target.mkdir()
    with tarfile.open(packed, "r:gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if member.isfile() and path.parent.name == archive.folder and path.name in archive.files:
                source = tar.extractfile(member)
                assert source is not None  # it is a file
                with source, (target / path.name).open("wb") as file:
                    shutil.copyfileobj(source, file)
                    file.flush()
                    os.fsync(file.fileno())
    if missing := [name for name in sorted(archive.files) if not (target / name).is_file()]:
        raise Error(f"{archive.folder}'s archive holds no {', '.join(missing)}")
