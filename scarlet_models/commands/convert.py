"""Turn a published checkpoint into safetensors in timm's layout.

Get the checkpoints of SCARLET-A, B and C from https://github.com/xiaomi-automl/SCARLET-NAS. No code in them is run.
"""

from dataclasses import dataclass

from scarlet_models.options import option

EXAMPLE = """  scarlet-models convert ScarletA.pth.tar --install
  scarlet-models convert ScarletA.pth.tar --output weights/scarlet_a.xiaomi_in1k.safetensors"""


@dataclass
class Options:
    """Options of convert.

    Args:
        checkpoint: The published file.
        install: Put the weights into the local store, where pretrained=True finds them.
        output: File to write. Without it and --install, NAME.xiaomi_in1k.safetensors in the current folder.
    """

    checkpoint: str = option(positional=True)
    install: bool = False
    output: str | None = None


def main(options: Options) -> None:
    from hashlib import sha256
    from pathlib import Path

    import safetensors.torch

    from scarlet_models.files import write_bytes
    from scarlet_models.parsing import next_line
    from scarlet_models.weights.convert import convert
    from scarlet_models.weights.install import install
    from scarlet_models.weights.shipped import PUBLISHED

    name, tensors = convert(Path(options.checkpoint))
    tag, data = f"{name}.{PUBLISHED}", safetensors.torch.save(tensors, metadata={"format": "pt"})
    written = [install(data, tag)] if options.install else []
    if options.output or not options.install:
        written.append(Path(options.output or f"{tag}.safetensors"))
        write_bytes(written[-1], data)
    for path in written:
        print(f"{tag}: {path} (sha256 {sha256(data).hexdigest()})")
    if options.install:
        print(next_line("scarlet-models", "classify", "IMAGES", "--model", tag))
