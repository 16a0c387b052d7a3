"""The edge to Ray: connecting to a cluster, and the queue and the weight board as detached, named actors.

Both are found by the run's name, by whoever comes first and whoever comes later. They restart if they die, with
an empty memory: the trainer notices (``StaleAttemptError``) and offers and publishes again.
"""

import logging
import os
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.cluster.weight_board import WeightBoard
from adaswitch.config import RayConfig, RunConfig
from adaswitch.errors import EnvironmentProblem

QUEUE, BOARD = ":queue", ":weights"
"""After the run's name, the names of its two actors."""


def connect(config: RayConfig, *, show_actor_logs: bool = False) -> None:
    """Join the cluster that ``config`` or RAY_ADDRESS names; there must be one.

    Raises ``EnvironmentProblem`` with the fix if it does not answer.
    """
    address = config.address or os.environ.get("RAY_ADDRESS", "auto")
    try:
        ray.init(
            address=address,
            namespace=config.namespace,
            log_to_driver=show_actor_logs,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EnvironmentProblem(
            f"no Ray cluster at {address} ({reason}); start one with `ray start --head`, or set ray.address"
        ) from None


def this_node() -> str:
    """Ray's id of the node that this process joined at."""
    return str(ray.get_runtime_context().get_node_id())


def is_alive(node: str) -> bool:
    """Whether Ray still counts on the node of this id."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def run_names() -> list[str]:
    """Of the runs that have a queue in this namespace, whether rollouts are wanted for them or not."""
    names = [str(name) for name in ray.util.list_named_actors()]
    return sorted(name.removesuffix(QUEUE) for name in names if name.endswith(QUEUE))


def existing(run_name: str) -> tuple[Any, Any] | None:
    """Handles of a run's queue and weight board; None if one is gone."""
    try:
        return ray.get_actor(run_name + QUEUE), ray.get_actor(run_name + BOARD)
    except ValueError:  # Ray's word for: there is none of that name
        return None


def rollout_queue(config: RunConfig) -> Any:  # noqa: ANN401 - Ray's handles have no static type
    """Handle of the run's queue actor, which is started if there is none."""
    queue = config.queue
    limits = (queue.capacity, queue.lease_timeout_s, queue.silence_timeout_s, queue.trainer_timeout_s)
    return _actor(RolloutQueue, config.name + QUEUE, config, *limits)


def weight_board(config: RunConfig) -> Any:  # noqa: ANN401
    """Handle of the run's weight board actor, which is started if there is none."""
    return _actor(WeightBoard, config.name + BOARD, config, ray.put)


def _actor(plain_class: type, name: str, config: RunConfig, *arguments: object) -> Any:  # noqa: ANN401
    options = {
        "name": name,
        "namespace": config.ray.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        # Where the run was begun, if that node can be had: others may come and go.
        "scheduling_strategy": NodeAffinitySchedulingStrategy(this_node(), soft=True),
        "num_cpus": 0,
        # Ray puts an actor that needs nothing at all on any node, whatever it was told: a lost student node could
        # take the queue along.
        "memory": 2**20,
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": 1000,
    }
    return ray.remote(plain_class).options(**options).remote(*arguments)


def remove_actors(config: RunConfig) -> None:
    """End the run's queue and weight board."""
    for name in (config.name + QUEUE, config.name + BOARD):
        try:
            ray.kill(ray.get_actor(name, namespace=config.ray.namespace))
        except ValueError:  # there is none of that name
            continue
