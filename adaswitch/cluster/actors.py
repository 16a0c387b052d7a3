"""The edge to Ray: connecting to a cluster, and the queue and the weight board as detached, named actors.

Both actors are found by the run's name. The first program that needs them starts them, and later programs find them.
If an actor dies, it restarts with an empty memory. The trainer notices that (``StaleAttemptError``), and offers and
publishes again.
"""

import logging
import os
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.cluster.weight_board import WeightBoard
from adaswitch.config.cluster import RayConfig
from adaswitch.config.run import RunConfig
from adaswitch.errors import EnvironmentProblem
from adaswitch.last_words import first_line

QUEUE, BOARD = ":queue", ":weights"
"""The endings of the names of a run's two actors. The names begin with the run's name."""
METRICS = ":metrics"
"""The name of the cluster's metrics board, which belongs to no run."""
_ON_THE_HEAD = {"node:__internal_head__": 0.001}
"""A resource that Ray gives to the head alone."""


def connect(config: RayConfig, *, show_actor_logs: bool = False) -> None:
    """Join the cluster that ``config`` or RAY_ADDRESS names. The cluster must be running already.

    Raises ``EnvironmentProblem`` with the fix if the cluster does not answer.
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
        reason = first_line(str(error)) or type(error).__name__
        raise EnvironmentProblem(
            f"no Ray cluster at {address} ({reason}); start one with `ray start --head`, or set ray.address"
        ) from None


def working_dir_of_job() -> str:
    """Ray's address (``gcs://..``) of the folder that was submitted with this job; empty outside of such a job."""
    return str(ray.get_runtime_context().runtime_env.get("working_dir") or "")


def this_node() -> str:
    """Ray's id of the node at which this process joined the cluster."""
    return str(ray.get_runtime_context().get_node_id())


def is_alive(node: str) -> bool:
    """Whether Ray takes the node with this id to be alive."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def num_nodes() -> int:
    """The number of the cluster's living nodes."""
    return sum(bool(each["Alive"]) for each in ray.nodes())


def has_gpus() -> bool:
    """Whether any node of the cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0.0))


def run_names() -> list[str]:
    """The names of all runs that have a queue in this namespace, even if they want no more rollouts."""
    names = [str(name) for name in ray.util.list_named_actors()]
    return sorted(name.removesuffix(QUEUE) for name in names if name.endswith(QUEUE))


def existing(run_name: str) -> tuple[Any, Any] | None:
    """The handles of a run's queue and weight board; None if either of them is gone."""
    try:
        return ray.get_actor(run_name + QUEUE), ray.get_actor(run_name + BOARD)
    except ValueError:  # Ray raises this if no actor has the name
        return None


def rollout_queue(config: RunConfig) -> Any:  # noqa: ANN401 - Ray's handles have no static type
    """The handle of the run's queue actor, which is started if it does not exist."""
    queue = config.queue
    limits = (queue.capacity, queue.lease_timeout_s, queue.silence_timeout_s, queue.trainer_timeout_s)
    return _actor(RolloutQueue, config.name + QUEUE, config, *limits)


def weight_board(config: RunConfig) -> Any:  # noqa: ANN401
    """The handle of the run's weight board actor, which is started if it does not exist."""
    return _actor(WeightBoard, config.name + BOARD, config)


def metrics_board(config: RunConfig) -> Any:  # noqa: ANN401
    """The handle of the cluster's metrics board, which is started on the cluster's head if it does not exist.

    It serves all runs, and stays when they end. ``MetricsBoard.complaint`` says whether it could be started.
    """
    from adaswitch.cluster.metrics_board import MetricsBoard

    options = {**_options(METRICS, config), "resources": _ON_THE_HEAD, "max_concurrency": 8}
    board = ray.remote(MetricsBoard).options(**options)
    return board.remote(config.ray.metrics_host, config.ray.metrics_port)


def _actor(plain_class: type, name: str, config: RunConfig, *arguments: object) -> Any:  # noqa: ANN401
    options = {
        **_options(name, config),
        # The actor should be on the node where the run was begun, because other nodes may come and go.
        "scheduling_strategy": NodeAffinitySchedulingStrategy(this_node(), soft=True),
        # Ray ignores the strategy for an actor that needs no resources, and puts it on any node. Then the queue could
        # be lost with a student's node.
        "memory": 2**20,
        "max_concurrency": 1000,
    }
    return ray.remote(plain_class).options(**options).remote(*arguments)


def _options(name: str, config: RunConfig) -> dict[str, object]:
    return {
        "name": name,
        "namespace": config.ray.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
    }


def remove_actors(config: RunConfig) -> None:
    """End the run's queue and weight board."""
    for name in (config.name + QUEUE, config.name + BOARD):
        try:
            ray.kill(ray.get_actor(name, namespace=config.ray.namespace))
        except ValueError:  # no actor has the name
            continue
