"""Options of export, and the formats that there are. Imports no torch."""

import importlib.util
from dataclasses import dataclass

from scarlet_models.errors import UserError, how_to_add
from scarlet_models.options import JsonOptions, NetworkOptions, option

SUFFIXES = {
    "onnx": ".onnx",
    "onnx-int8": "-int8.onnx",
    "pt2": ".pt2",
    "executorch": ".pte",
    "executorch-int8": "-int8.pte",
}
# Format in fp32 -> extra of scarlet-models, and the packages that it brings.
_PACKAGES = {
    "onnx": ("export", ("onnx", "onnxscript", "onnxruntime")),
    "executorch": ("executorch", ("executorch", "torchao")),
}


def need_packages(kind: str) -> None:
    """Refuse a format whose packages are not installed."""
    extra, packages = _PACKAGES.get(kind.removesuffix("-int8"), ("", ()))
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise UserError(f"{kind} needs {' and '.join(missing)}: {how_to_add(extra)}")


def program_format(runtime: str, dtype: str) -> str:
    """The format that a runtime of `scarlet-search latency` runs."""
    return {"onnxruntime": "onnx"}.get(runtime, runtime) + ("-int8" if dtype == "int8" else "")


@dataclass
class ExportOptions(NetworkOptions, JsonOptions):
    """What is exported, and how it is checked.

    Args:
        pretrained: Load weights; --no-pretrained leaves them random.
        format: Comma-separated list of onnx, onnx-int8, pt2 (torch.export), executorch and executorch-int8.
        calibration: Folder of training images; int8 files take the ranges of their activations from them.
        calibration_images: Number of images to take from that folder, at random.
        keep: Modules that int8 files compute in fp32, such as [blocks.3.1].
        sensitivity: Print the error that int8 makes in each block alone; needs --calibration.
        data_dir: Folder of class folders, or with one such folder for each split, to measure top-1 on.
        split: Split to measure on: a folder in data_dir. Choose by a held-out one, and read the test split once.
        skip_broken: Leave out images of data_dir that cannot be read instead of refusing them.
        max_drop: Points of top-1 that a file may lose; if one loses more, none is written. Needs --data-dir.
        threads: CPU threads of the runtimes when latency is measured; 0 keeps their own number.
        out: Folder for the files.
    """

    pretrained: bool = True
    format: str = "onnx,pt2"
    calibration: str = ""
    calibration_images: int = option(256, least=1)
    keep: list[str] = option([])
    sensitivity: bool = False
    data_dir: str = option("", free=True)
    split: str = "validation"
    skip_broken: bool = False
    max_drop: float | None = option(None, least=0)
    threads: int = option(1, least=0, free=True)
    out: str = option(".", free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        int8 = [kind for kind in self.formats if kind.endswith("int8")]
        if (int8 or self.sensitivity) and not self.calibration:
            raise UserError(f"--calibration is missing: {int8[0] if int8 else '--sensitivity'} needs training images")
        if self.max_drop is not None and not self.data_dir:
            raise UserError("--max-drop needs labelled images to measure top-1 on: give --data-dir")

    @property
    def formats(self) -> list[str]:
        """The formats, each once."""
        kinds = list(dict.fromkeys(filter(None, map(str.strip, self.format.strip("[] ").split(",")))))
        if not kinds or (unknown := next((kind for kind in kinds if kind not in SUFFIXES), "")):
            raise UserError(f"--format: {unknown if kinds else ''!r} is none of {', '.join(SUFFIXES)}")
        return kinds
