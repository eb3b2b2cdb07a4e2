"""Adds a trained supernet to those that ship, in half precision. Run it in a clone that is installed with -e:

python tools/ship_supernet.py runs/macro nas_bench_macro.c10
"""

import re
import sys
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of
from scarlet_models.search.scoring.heldout import open_supernet
from scarlet_models.search.supernet import file
from scarlet_models.weights.store import read_manifest, write_manifest


def ship(source: Path | str, name: str) -> Path:
    """Put a trained supernet into the package under a name such as nas_bench_macro.c10; return the weights' file."""
    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", name):
        raise UserError(f"{name!r} is not a name such as nas_bench_macro.c10: SPACE.DATA, in small letters and digits")
    net, info, *_ = open_supernet(source)
    folder = file.PACKAGE
    path = file.save_supernet(net, folder, info, name=f"{name}.safetensors", half=True)
    listed = read_manifest(folder) | {each.name: (sha256_of(each),) for each in (path, path.with_suffix(".json"))}
    write_manifest(folder, listed)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python tools/ship_supernet.py FOLDER NAME, not {len(sys.argv) - 1} arguments")
    try:
        print(ship(*sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
