"""``python -m adaswitch.cluster.head``: a Ray cluster of one node on this machine, for as long as this process lives.

Writes the cluster's address into a file once it is up. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN for one that
only those who know the token can use: Ray's ports listen on every interface.
"""

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path

from adaswitch.processes.entry import StopRequest, one_line_errors
from adaswitch.runs.directory import write_atomically

EXAMPLE = "Example: python -m adaswitch.cluster.head --address-file /tmp/address --num-cpus 4"
POLL_S = 0.2


def main() -> None:
    """Start Ray, say where, wait for a signal, stop Ray."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--address-file", type=Path, required=True, help="where the address is written")
    parser.add_argument("--num-cpus", type=int, required=True, help="CPUs that Ray may give away")
    parser.add_argument("--object-store-mib", type=int, default=512, help="shared memory for objects")
    parser.add_argument("--dashboard-port", type=int, help="start the dashboard with its job server there")
    arguments = parser.parse_args()
    should_stop = StopRequest(patient=True)
    parent = os.getppid()
    with one_line_errors():
        address = _start(arguments.num_cpus, arguments.object_store_mib * 2**20, arguments.dashboard_port)
        # Ray puts handlers of its own in place when it starts.
        should_stop.install()
        if arguments.dashboard_port is not None:
            # As `ray start` does: a job looks there for the cluster that it was handed in at, else it joins any.
            write_atomically(_own_folder() / "ray_current_cluster", address.encode())
        write_atomically(arguments.address_file, address.encode())
        # A parent that was killed cannot send a signal any more.
        while not should_stop() and os.getppid() == parent:
            time.sleep(POLL_S)
        _stop()


def _start(num_cpus: int, object_store_bytes: int, dashboard_port: int | None) -> str:
    """The address of the cluster that is up then."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A cluster of its own, whatever others there are on this machine.
    os.environ.pop("RAY_ADDRESS", None)
    import ray

    from adaswitch.errors import EnvironmentProblem

    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=object_store_bytes,
            include_dashboard=dashboard_port is not None,
            dashboard_port=dashboard_port,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=None if dashboard_port is None else str(_own_folder()),
        )
    except Exception as error:
        ray.shutdown()
        raise EnvironmentProblem(f"Ray did not start: {error}") from error
    return str(ray.get_runtime_context().gcs_address)


def _own_folder() -> Path:
    """Where a cluster that takes jobs has its sockets and logs, and no other one of the machine."""
    return Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", f"adaswitch-{os.getpid()}")


def _stop() -> None:
    import ray

    ray.shutdown()


if __name__ == "__main__":
    main()
