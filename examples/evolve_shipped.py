"""Search with the supernet that ships, in Python, and plot the front.

python examples/evolve_shipped.py cifar10          # cifar10/train/CLASS/*.jpg
"""

import sys
from pathlib import Path

from scarlet_models.search import Supernet, evolve
from scarlet_models.search.evolution.search import Front


def main(images: Path, out: Path, population: int = 20, generations: int = 5, scored: int = 500) -> Front:
    """Evolve networks of NAS-Bench-Macro's space, print the front, and take its best network out of the supernet."""
    net = Supernet.from_pretrained("nas_bench_macro.c10")
    front = evolve(
        net,
        images,
        objectives=["accuracy", "macs"],
        population=population,
        generations=generations,
        images=scored,
        calibration_images=scored,
        other_copy=True,  # CIFAR-10 under other file names than those it was trained with
        out=str(out),
    )
    print(front)
    front.plot(out / "front.png")
    model = net.extract(front[0].genotype)
    print(f"extracted {front[0].genotype}: {sum(p.numel() for p in model.parameters()):,} params")
    return front


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path("runs/evolve_shipped"))
