"""Options of latency tables. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from scarlet_models.errors import UserError
from scarlet_models.options import DeviceOptions, option


@dataclass(kw_only=True)
class LatencyOptions(DeviceOptions):
    """What to time, and how.

    Args:
        space: Name of a search space, or a YAML file.
        runtime: torch runs PyTorch in eager mode; onnxruntime and executorch (XNNPACK) run on the CPU.
        dtype: fp32, or int8 with onnxruntime and executorch.
        image_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        batch_size: Images in a batch; all latencies are of a whole batch.
        rounds: Measurements of each choice of a layer; layers of one shape share theirs.
        validate: Whole networks to compare with the table's sums; 0 for none.
        validation_rounds: Measurements of each of these networks.
        channels_last: Run PyTorch in the memory layout channels_last.
        threads: CPU threads; 0 keeps the runtime's own number.
        seed: Seed of the paths and of the networks to compare with.
        emit: Folder for programs to time on another device, with instructions; nothing is timed here.
        from_: The CSV with the times of such programs, in the folder that --emit wrote; nothing is timed here.
        out: Folder for table.json.
    """

    space: str = option("scarlet", positional=True)
    runtime: Literal["torch", "onnxruntime", "executorch"] = "torch"
    dtype: Literal["fp32", "int8"] = "fp32"
    image_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    batch_size: int = option(1, least=1)
    rounds: int = option(30, least=1)
    validate: int = option(50, least=0)
    validation_rounds: int = option(20, least=1)
    channels_last: bool = False
    threads: int = option(1, least=0, free=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    emit: str = option("", free=True)
    from_: str = option("", free=True)
    out: str = option("runs/latency", free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validate in (1, 2):
            raise UserError(f"--validate: {self.validate} networks have no rank correlation; give 3 or more, or 0")
        eager = self.runtime == "torch"
        if eager and (self.emit or self.dtype == "int8"):
            raise UserError(f"{'--emit' if self.emit else '--dtype int8'} needs --runtime onnxruntime or executorch")
        if not eager and self.device not in ("auto", "cpu"):
            raise UserError(f"--runtime {self.runtime} measures on the CPU only: leave --device out")
        if not eager and self.channels_last:
            raise UserError(f"--channels-last is a memory layout of PyTorch's: leave it out with {self.runtime}")
        if self.emit and self.from_:
            raise UserError("--emit writes programs and --from reads their times: give one of the two")
