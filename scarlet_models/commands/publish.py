"""Push a network to the Hugging Face Hub, so that timm.create_model("hf-hub:USER/NAME") loads it.

One commit with config.json, model.safetensors and a model card; a card that is there already is kept. Log in first,
with `hf auth login` or HF_TOKEN.
"""

from __future__ import annotations

from dataclasses import dataclass

from scarlet_models.options import option

EXAMPLE = """  scarlet-models publish runs/mine/exported/mine me/my-network
  scarlet-models publish scarlet_a.c10 me/scarlet_a.c10 --private"""


@dataclass
class Options:
    """Options of publish.

    Args:
        source: A saved folder, or a released NAME.TAG whose weights are here.
        repo: USER/NAME on the Hub; made if absent.
        private: Make a new repository private.
    """

    source: str = option(positional=True)
    repo: str = option(positional=True)
    private: bool = False


def main(options: Options) -> None:
    """Push and print the address."""
    from scarlet_models.weights.publish import publish

    print(publish(options.source, options.repo, options.private))
