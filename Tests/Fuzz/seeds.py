"""The seeds that the library does not write itself: CIFAR-100's Python layout, without its images.

python seeds.py FOLDER
"""

import sys
from pathlib import Path


def integer(value):
    return b"K%c" % value if value < 256 else b"M" + value.to_bytes(2, "little")


def string(text):
    return b"U%c%bq\1" % (len(text), text)


def sequence(items):
    parts = (b"(" + b"".join(items[start : start + 1000]) + b"e" for start in range(0, len(items), 1000))
    return b"]q\1" + b"".join(parts)


def array(rows, columns, contents=b""):
    empty = b"cnumpy.core.multiarray\n_reconstruct\nq\1cnumpy\nndarray\nq\1K\0\x85" + string(b"b") + b"\x87Rq\1"
    byte = b"cnumpy\ndtype\nq\1" + string(b"u1") + b"K\0K\1\x87Rq\1"
    byte += b"(K\3" + string(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
    shape = integer(rows) + integer(columns) + b"\x86"
    return empty + b"(K\1" + shape + byte + b"\x89T" + (rows * columns).to_bytes(4, "little") + contents + b"tb"


def dictionary(**items):
    return b"\x80\2}q\1(" + b"".join(string(key.encode()) + value for key, value in items.items()) + b"u."


images = 10_000
seeds = {
    "pickle": dictionary(
        names=sequence([string(b"apple")]), labels=sequence([integer(3)]), data=array(2, 3, b"abcdef")
    ),
    "cifar": dictionary(
        coarse_labels=sequence(images * [integer(19)]),
        fine_labels=sequence(images * [integer(99)]),
        data=array(images, 3072),
    ),
}
for name, content in seeds.items():
    folder = Path(sys.argv[1], name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed").write_bytes(content)
