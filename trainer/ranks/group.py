"""The ranks as Ray actors, in a placement group: started together, called together, and ended together."""

import contextlib
import os
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from adaswitch.config.run import RunConfig
from adaswitch.errors import AdaSwitchError, EnvironmentProblem, cause_of
from adaswitch.last_words import one_line
from trainer.ranks.rank import Rank

PLACE_TIMEOUT_S = 300.0
"""The number of seconds that the cluster has to find room for the ranks."""
LOOK_S = 10.0
"""The number of seconds in which Ray notices that a rank has died."""


class RankLostError(AdaSwitchError):
    """A rank has ended in the middle of its work, so that the others have nobody to go on with."""


class RankGroup:
    """All ranks of a trainer. ``close`` ends them."""

    def __init__(self, config: RunConfig, device: str, num_threads: int) -> None:
        """Start the ranks and let them find each other. Raises ``EnvironmentProblem`` if the cluster has no room."""
        needs = _needs(config, device)
        _require_room(config.trainer.num_ranks, needs)
        self._group = _placed(config.trainer.num_ranks, needs)
        actor: Any = ray.remote(Rank)  # Ray's handles have no methods that a type checker knows
        self._ranks: list[Any] = [
            actor.options(
                num_cpus=needs.get("CPU", 0),
                num_gpus=needs.get("GPU", 0),
                resources={name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")},
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, rank),
                # torch reads it when it is imported, which is before the actor's own code runs.
                runtime_env={"env_vars": {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}},
            ).remote(config, rank, device, num_threads)
            for rank in range(config.trainer.num_ranks)
        ]
        try:
            [address] = self._results([self._ranks[0].address.remote()])
            self.all("join", address)
        except BaseException:
            self.close()
            raise

    def all(self, method: str, *arguments: object) -> list[Any]:
        """What ``method`` returns on each rank. Raises the first rank's error, or ``RankLostError``.

        After an error nothing is known of the ranks, and none can be called again.
        """
        return self._results([getattr(rank, method).remote(*arguments) for rank in self._ranks])

    def _results(self, calls: list[Any]) -> list[Any]:
        left = list(calls)
        while left:
            # The first error counts: the other ranks would wait for the one that failed.
            done, left = ray.wait(left)
            try:
                ray.get(done)
            except RayError as error:
                explained = self._explained(calls.index(done[0]), error)
                _heard(left)
                raise explained from error
        return list(ray.get(calls))

    def _explained(self, number: int, error: RayError) -> AdaSwitchError:
        """What ``error`` of the rank ``number`` means. If a rank has died, the others fail because of that."""
        cause = cause_of(error)
        if isinstance(cause, AdaSwitchError):
            return cause
        lost = number if isinstance(error, ActorDiedError) else self._dead()
        if lost is None:
            return AdaSwitchError(f"rank {number} of {len(self._ranks)}: {one_line(cause)}")
        return RankLostError(
            f"rank {lost} of {len(self._ranks)} has died: hand the job in again, and it goes on from the "
            "newest checkpoint"
        )

    def _dead(self) -> int | None:
        """The number of a rank that has died; None if none has, as far as is known within ``LOOK_S``."""
        calls = [rank.is_there.remote() for rank in self._ranks]
        for call in ray.wait(calls, num_returns=len(calls), timeout=LOOK_S)[0]:
            try:
                ray.get(call)
            except ActorDiedError:
                return calls.index(call)
            except RayError:
                continue
        return None

    def close(self) -> None:
        """End all ranks, and give their places back."""
        for rank in self._ranks:
            ray.kill(rank)
        remove_placement_group(self._group)


def _heard(calls: list[Any]) -> None:
    """Take note of what other ranks say of the same failure, which Ray would print otherwise once nobody asks."""
    for call in ray.wait(calls, num_returns=len(calls), timeout=LOOK_S)[0] if calls else ():
        with contextlib.suppress(RayError):
            ray.get(call)


def _needs(config: RunConfig, device: str) -> dict[str, float]:
    """What a rank needs of the cluster, as Ray counts it."""
    own = config.trainer.rank_resources
    if own is not None:
        return dict(own)
    return {"CPU": 1.0, "GPU": 1.0} if device == "cuda" else {"CPU": 1.0}


def _require_room(num_ranks: int, needs: dict[str, float]) -> None:
    """Raises ``EnvironmentProblem`` if the whole cluster, with nothing else on it, has no room for the ranks."""
    there = ray.cluster_resources()
    for name, amount in needs.items():
        if there.get(name, 0.0) < num_ranks * amount:
            raise EnvironmentProblem(
                f"trainer.num_ranks: {num_ranks} ranks need {num_ranks * amount:g} of {name}, and the cluster has "
                f"{there.get(name, 0.0):g}: lower trainer.num_ranks, or see trainer.rank_resources"
            )


def _placed(num_ranks: int, needs: dict[str, float]) -> PlacementGroup:
    """A placement group with a place for each rank, on as few nodes as have room for them."""
    group: PlacementGroup = placement_group([needs] * num_ranks, strategy="PACK")
    if not group.wait(PLACE_TIMEOUT_S):
        remove_placement_group(group)
        raise EnvironmentProblem(
            f"trainer.num_ranks: the cluster had no room for {num_ranks} ranks within {PLACE_TIMEOUT_S:.0f} s, each "
            f"with {needs}: are students in their places? lower trainer.num_ranks, or add nodes"
        )
    return group
