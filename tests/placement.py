"""``python -m tests.placement``: on which of two nodes Ray puts the queues and weight boards of runs.

A cluster of its own; the runs are begun on its first node. The last line is ``6 here, 0 elsewhere``.
"""

from typing import Any

import ray
from ray.cluster_utils import Cluster

from adaswitch.cluster import actors
from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig

NUM_RUNS = 3


def main() -> None:
    """Begin runs, and look where their actors are."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=4)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, namespace="adaswitch", log_to_driver=False)
        configs = [_config(f"run-{number}") for number in range(NUM_RUNS)]
        started = [
            start(config) for config in configs for start in (actors.rollout_queue, actors.weight_board)
        ]
        num_here = sum(_node_of(actor) == actors.this_node() for actor in started)
        print(f"{num_here} here, {len(started) - num_here} elsewhere")
    finally:
        ray.shutdown()
        nodes.shutdown()


def _config(name: str) -> RunConfig:
    return parse_config(
        {"name": name, "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}
    )


def _node_of(actor: Any) -> str:
    return str(ray.get(actor.__ray_call__.remote(lambda self: actors.this_node())))


if __name__ == "__main__":
    main()
