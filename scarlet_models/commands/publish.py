"""Push a network to the Hugging Face Hub, where timm.create_model("hf-hub:USER/NAME") finds it.

Log in first, with `hf auth login` or HF_TOKEN. The push is one commit of config.json, model.safetensors and a model
card. A card that is already there is kept.
"""

from dataclasses import dataclass

from scarlet_models.options import option

EXAMPLE = """  scarlet-models publish runs/mine/exported/mine me/my-network
  scarlet-models publish scarlet_a.tiny_in me/scarlet_a.tiny_in --private"""


@dataclass
class Options:
    """Options of publish.

    Args:
        source: A folder of an exported network, or a released NAME.TAG whose weights are here.
        repo: USER/NAME on the Hub; created if it does not exist.
        private: Make a new repository private.
    """

    source: str = option(positional=True)
    repo: str = option(positional=True)
    private: bool = False


def main(options: Options) -> None:
    from scarlet_models.weights.publish import publish

    print(publish(options.source, options.repo, options.private))
