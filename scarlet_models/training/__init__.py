"""What any training needs, and two functions that use it: `train` a network on a folder of images, `evaluate` one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classification import TrainResult, train
    from .evaluation import EvaluateResult, evaluate

__all__ = ["EvaluateResult", "TrainResult", "evaluate", "train"]


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first used, so that options of commands are read without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import classification, evaluation

    return getattr(classification if name.lower().startswith("train") else evaluation, name)
