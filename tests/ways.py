"""Every way of taking over, drawn at random: triggers, holds, cuts and budgets that fit together."""

from hypothesis import strategies as st
from pydantic import ValidationError

from adaswitch.method.policies.dash import DASH
from adaswitch.method.policies.motab import MOTAB
from adaswitch.method.policies.relay_opd import RelayOPD
from adaswitch.method.policies.ssd import SSD
from adaswitch.method.policies.switch import Switch
from adaswitch.method.policies.take_over import TakeOver
from adaswitch.method.policies.taking_over import TakeOverPolicy
from adaswitch.method.takeover.budget import RolloutBudget
from adaswitch.method.takeover.cuts.at_crossing import AtCrossing
from adaswitch.method.takeover.cuts.last_safe import LastSafe
from adaswitch.method.takeover.holds.recovered import Recovered
from adaswitch.method.takeover.holds.sentence import Sentence
from adaswitch.method.takeover.holds.to_the_end import ToTheEnd
from adaswitch.method.takeover.holds.tokens import Tokens
from adaswitch.method.takeover.holds.until_low import UntilLow
from adaswitch.method.takeover.triggers.accumulated import Accumulated
from adaswitch.method.takeover.triggers.adaptive import Adaptive
from adaswitch.method.takeover.triggers.decaying import Decaying
from adaswitch.method.takeover.triggers.fixed import Fixed
from adaswitch.method.takeover.triggers.over_entropy import OverEntropy
from adaswitch.method.takeover.triggers.probability import Probability
from adaswitch.method.takeover.triggers.redirect import Redirect
from adaswitch.method.takeover.triggers.shared_scale import SharedScale
from adaswitch.method.takeover.triggers.top_k import TopKTrigger
from adaswitch.method.takeover.triggers.unsure import Unsure
from tests.slow_takeover import TEXTS

CHUNKS = st.integers(1, 30)
METRICS = st.sampled_from(["forward_kl", "reverse_kl", "jsd"])
FACTORS = st.sampled_from([0.5, 1.5, 3.0])
REDIRECT = Redirect(words=["wait", "no"], student_top_k=1)
TRIGGERS = st.one_of(
    st.builds(Adaptive, window=st.integers(1, 5), factor=FACTORS, metric=METRICS),
    st.builds(Fixed, tau=st.sampled_from([0.02, 0.1, 0.3]), metric=METRICS),
    st.builds(Decaying, tau=st.sampled_from([0.1, 0.5]), decay=st.sampled_from([0.02, 0.2]), metric=METRICS),
    st.builds(SharedScale, factor=st.sampled_from([1.0, 4.0]), metric=METRICS),
    st.builds(OverEntropy, factor=st.sampled_from([0.05, 0.2]), floor=st.sampled_from([0.0, 0.2])),
    st.builds(Unsure, window=st.integers(1, 4), factor=st.sampled_from([1.0, 1.2])),
    st.builds(Accumulated, drift=st.sampled_from([0.1, 0.6]), allowed=st.sampled_from([0.0, 0.05])),
    st.builds(TopKTrigger, accept_top_k=st.integers(1, 3)),
    st.builds(Probability, min_probability=st.sampled_from([0.02, 0.1, 0.3])),
    st.just(REDIRECT),
)
HOLDS = st.one_of(
    st.just(ToTheEnd()),
    st.builds(Tokens, num=st.integers(1, 5)),
    st.builds(Sentence, num=st.integers(1, 3), most_tokens=st.integers(1, 9)),
    st.builds(
        UntilLow, tau=st.sampled_from([0.01, 0.05, 0.2]), metric=METRICS, step_tokens=st.integers(1, 3)
    ),
    st.builds(Recovered, recovery=st.sampled_from([0.0, 0.05, 0.2]), allowed=st.sampled_from([0.05, 0.2])),
)
CUTS = st.one_of(
    st.just(AtCrossing()),
    st.builds(LastSafe, safe=st.sampled_from([0.0, 0.015, 0.1]), most_tokens=st.sampled_from([None, 1, 3])),
    st.builds(LastSafe, share=st.sampled_from([0.1, 0.5])),
)
BUDGETS = st.one_of(
    st.none(),
    st.builds(
        RolloutBudget,
        times=st.sampled_from([None, 1, 2]),
        tokens=st.integers(1, 9),
        then=st.sampled_from(["student", "end"]),
    ),
    st.builds(RolloutBudget, times=st.integers(1, 3), then=st.sampled_from(["student", "end"])),
)


@st.composite
def take_overs(draw: st.DrawFn) -> TakeOver:
    """Any combination that is not refused, bound to the tokens of a world."""
    parts = {"trigger": draw(TRIGGERS), "hold": draw(HOLDS), "cut": draw(CUTS), "budget": draw(BUDGETS)}
    size = draw(CHUNKS)
    while parts:
        try:
            return TakeOver(chunk_size=size, **parts).bound(lambda: TEXTS)
        except ValidationError:
            parts.popitem()
    raise AssertionError("the defaults are refused")


PRESETS: st.SearchStrategy[TakeOverPolicy] = st.one_of(
    st.builds(SSD, tau=st.sampled_from([0.01, 0.1]), metric=METRICS, chunk_size=CHUNKS),
    st.builds(Switch, tau=st.sampled_from([0.1, 0.5]), metric=METRICS, chunk_size=CHUNKS),
    st.builds(
        DASH,
        drift=st.sampled_from([0.1, 0.5]),
        recovery=st.sampled_from([0.01, 0.1]),
        allowed=st.sampled_from([0.05, 0.1]),
        chunk_size=CHUNKS,
    ),
    st.builds(
        RelayOPD,
        words=st.just(["wait", "no"]),
        student_top_k=st.integers(1, 2),
        legs=st.integers(1, 3),
        paragraphs=st.integers(0, 2),
        ends=st.just([".", "!"]),
        then=st.sampled_from(["student", "end"]),
        chunk_size=CHUNKS,
    ),
    st.builds(
        MOTAB,
        window=st.integers(1, 4),
        factor=st.sampled_from([1.0, 1.2]),
        safe_share=st.sampled_from([0.5, 0.9]),
        guide_tokens=st.integers(1, 4),
        chunk_size=CHUNKS,
    ),
).map(lambda policy: policy.bound(lambda: TEXTS))
"""The papers' ways, bound to the tokens of a world."""
