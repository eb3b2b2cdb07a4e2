"""Manage the local store of weights.

list     show every tag, and whether its weights are in the store, in the package or not here
dir      print the store's folder, which the environment variable SCARLET_HOME moves
verify   compare every file in store and package with its sha256
install  put safetensors files into the store, such as scarlet_a.tiny_in.safetensors; or, with --name, the network that
         a run has exported, rounded to float16 but for its batch norms
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scarlet_models.errors import UserError
from scarlet_models.options import JsonOptions, option
from scarlet_models.terminal import output

EXAMPLE = """  scarlet-models weights list
  scarlet-models weights install scarlet_a.tiny_in.safetensors
  SCARLET_HOME=scarlet_models/weights scarlet-models weights install runs/a --name scarlet_a.tiny_in"""


@dataclass
class Options(JsonOptions):
    """Options of weights.

    Args:
        action: list, dir, verify or install.
        files: The safetensors files, or the folder, to install.
        name: NAME.TAG of the one file to install; read from its file name by default.
    """

    action: Literal["list", "dir", "verify", "install"] = option(positional=True)
    files: list[str] = option([], positional=True)
    name: str = option("", free=True)


def main(options: Options) -> None:
    from scarlet_models.weights.install import available, install_file, verify
    from scarlet_models.weights.store import store_dir

    if options.action != "install" and (options.files or options.name):
        raise UserError(f"{options.action} takes no files")
    if options.action == "dir":
        print(store_dir())
    elif options.action == "list":
        output(available(), options.json, _show)
    elif options.action == "verify":
        output(found := verify(), options.json, _show)
        if bad := [row["path"] for row in found if row["state"] != "ok"]:
            raise UserError(f"these files are not as listed: {', '.join(bad)}; remove them and install them again")
    elif not options.files:
        raise UserError("install needs a file, such as scarlet_a.tiny_in.safetensors")
    elif options.name and len(options.files) > 1:
        raise UserError("--name is for one file")
    else:
        for file in options.files:
            print(install_file(Path(file), options.name))


def _show(rows: list[dict[str, str]]) -> None:
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['state']:8}  {row['path']}".rstrip())
