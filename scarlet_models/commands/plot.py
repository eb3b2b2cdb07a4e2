"""Draw an architecture: its blocks from left to right, with channels and size of each feature map above.

Colour shows a block's kernel, height its expansion, an outline squeeze-and-excitation.
"""

from dataclasses import dataclass
from pathlib import Path

from scarlet_models.options import NetworkOptions, option
from scarlet_models.terminal import short

EXAMPLE = """  scarlet-models plot scarlet_a
  scarlet-models plot scarlet_c --out c.svg
  scarlet-models plot 0,1,2,3,0 --space mini --out mini.png"""


@dataclass
class Options(NetworkOptions):
    """Options of plot.

    Args:
        out: File to write: .png, .svg or .pdf. MODEL.png by default.
        dark: Draw for dark pages.
    """

    out: str = option("", free=True)
    dark: bool = False


def main(options: Options) -> None:
    from scarlet_models.inspection.drawing import draw
    from scarlet_models.inspection.layout import layout
    from scarlet_models.inspection.plotting import DARK, LIGHT, save, using
    from scarlet_models.networks import create_on_meta, file_stem, genotype_of, image_size, is_genotype

    genotype, model = genotype_of(options.model, options.space), create_on_meta(options.model, options.space)
    size = options.input_size or image_size(model)
    blocks = layout(model, size, genotype)
    macs, params = (sum(getattr(block, cost) for block in blocks) for cost in ("macs", "params"))
    facts = [f"{size} px", f"{short(macs)} MACs", f"{short(params)} params"]
    if genotype:
        facts.append(f"genotype {genotype}")
    stem = file_stem(options.model)
    path = Path(options.out or f"{stem}.png")
    title = f"A network of space {genotype.space.name}" if genotype and is_genotype(options.model) else stem
    with using(DARK if options.dark else LIGHT):
        save(draw(blocks, title, "   ·   ".join(facts)), path)
    print(path)
