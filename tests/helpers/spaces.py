"""Search spaces of all kinds, drawn by hypothesis."""

from hypothesis import strategies as st

from scarlet_models.space.blocks import KERNELS
from scarlet_models.space.space import SearchSpace

seeds = st.integers(0, 2**32 - 1)
multiples_of_8 = st.integers(1, 6).map(lambda n: 8 * n)
blocks = st.fixed_dictionaries(
    {"kernel": st.sampled_from(KERNELS), "expand": st.integers(2, 6), "se": st.sampled_from([0, 0.1, 0.25, 1 / 3, 1])}
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small spaces of all kinds that a user may write."""
    act = draw(st.sampled_from(["relu", "relu6", "hard_swish", "silu"]))
    stages = st.fixed_dictionaries(
        {"channels": multiples_of_8, "depth": st.integers(1, 3), "stride": st.sampled_from([1, 2])}
    )
    last_stages = stages.map(lambda stage: {**stage, "stride": 2})  # so that some layer changes the shape
    choices: list[object] = draw(
        st.lists(blocks, min_size=1, max_size=3, unique_by=lambda block: tuple(sorted(block.items())))
    )
    if draw(st.booleans()):
        choices.insert(draw(st.integers(0, len(choices))), "identity")
    return SearchSpace.load(
        {
            "name": "drawn",
            "stem": {
                "channels": draw(multiples_of_8),
                "stride": draw(st.sampled_from([1, 2])),
                "act": act,
                "separable": draw(st.none() | multiples_of_8),
            },
            "stages": [*draw(st.lists(stages, max_size=2)), draw(last_stages)],
            "choices": choices,
            "act": draw(st.sampled_from(["relu", "hard_swish"])),
            "head": {"channels": draw(multiples_of_8), "act": act},
            "identity_at": draw(st.sampled_from(["same_shape", "stride1", "everywhere"])),
            "input_size": draw(st.integers(17, 40)),
            "num_classes": draw(st.integers(1, 9)),
        }
    )
