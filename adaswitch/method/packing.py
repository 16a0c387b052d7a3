"""Which rollouts of a step go into one micro-batch, and to which rank."""

from collections.abc import Sequence

from adaswitch.method.rollout import Rollout


def num_all_tokens(rollout: Rollout) -> int:
    """The tokens of prompt and completion together."""
    return len(rollout.prompt.token_ids) + rollout.num_tokens


def sized_rows(rollouts: Sequence[Rollout], size: int) -> list[Sequence[Rollout]]:
    """Micro-batches of ``size`` rollouts each, in the order of ``rollouts``."""
    return [rollouts[start : start + size] for start in range(0, len(rollouts), size)]


def packed_rows(rollouts: Sequence[Rollout], max_tokens: int) -> list[list[Rollout]]:
    """First-fit decreasing: the longest first, each into the first row in which ``max_tokens`` leave it room.

    A rollout that is longer than ``max_tokens`` has a row of its own. The same rollouts give the same rows.
    """
    rows: list[list[Rollout]] = []
    room: list[int] = []
    for rollout in sorted(rollouts, key=num_all_tokens, reverse=True):
        length = num_all_tokens(rollout)
        place = next((place for place, left in enumerate(room) if length <= left), None)
        if place is None:
            rows.append([rollout])
            room.append(max_tokens - length)
        else:
            rows[place].append(rollout)
            room[place] -= length
    return rows


def padded_rows(rollouts: Sequence[Rollout], max_tokens: int) -> list[list[Rollout]]:
    """Micro-batches that are padded, and have no more than ``max_tokens`` with their padding.

    Those of about the same length go together. A rollout that is longer than ``max_tokens`` is alone.
    """
    batches: list[list[Rollout]] = []
    for rollout in sorted(rollouts, key=num_all_tokens, reverse=True):
        if batches and _padded([*batches[-1], rollout]) <= max_tokens:
            batches[-1].append(rollout)
        else:
            batches.append([rollout])
    return batches


def _padded(rollouts: Sequence[Rollout]) -> int:
    prompt = max(len(rollout.prompt.token_ids) for rollout in rollouts)
    return len(rollouts) * (prompt + max(rollout.num_tokens for rollout in rollouts))


def level_shares(rollouts: Sequence[Rollout], num_shares: int) -> list[list[Rollout]]:
    """``rollouts`` in ``num_shares`` parts of about as many tokens each: the longest first, to whoever has least.

    The same rollouts give the same parts. A part is empty if there are fewer rollouts than parts.
    """
    shares: list[list[Rollout]] = [[] for _ in range(num_shares)]
    loads = [0] * num_shares
    for rollout in sorted(rollouts, key=num_all_tokens, reverse=True):
        least = loads.index(min(loads))
        shares[least].append(rollout)
        loads[least] += num_all_tokens(rollout)
    return shares
