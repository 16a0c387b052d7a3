"""``python -m adaswitch.cluster.head``: a Ray cluster of one node on this machine, for as long as this process lives.

Writes the cluster's address into a file once the cluster is up. Ray's ports listen on every interface. Set
RAY_AUTH_MODE=token and RAY_AUTH_TOKEN for a cluster that can be used only with the token.
"""

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path

from adaswitch.last_words import one_line
from adaswitch.processes.entry import StopRequest, one_line_errors
from adaswitch.storage import write_atomically

EXAMPLE = "Example: python -m adaswitch.cluster.head --address-file /tmp/address --num-cpus 4"
POLL_S = 0.2


def main() -> None:
    """Start Ray, write down its address, wait for a signal, and stop Ray."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--address-file", type=Path, required=True, help="file for the cluster's address")
    parser.add_argument("--num-cpus", type=int, required=True, help="number of CPUs that Ray may use")
    parser.add_argument("--object-store-mib", type=int, default=512, help="shared memory for objects, in MiB")
    parser.add_argument("--dashboard-port", type=int, help="port of the dashboard and its job server")
    arguments = parser.parse_args()
    should_stop = StopRequest(patient=True)
    parent = os.getppid()
    with one_line_errors():
        address = _start(arguments.num_cpus, arguments.object_store_mib * 2**20, arguments.dashboard_port)
        # Ray installs its own signal handlers when it starts, so ours are installed afterwards.
        should_stop.install()
        if arguments.dashboard_port is not None:
            # `ray start` writes this file too. A job finds there the cluster to which it was submitted; without the
            # file the job would join any cluster.
            write_atomically(_own_folder() / "ray_current_cluster", address.encode())
        write_atomically(arguments.address_file, address.encode())
        # If the parent was killed, it can send no signal any more, so its death is looked for.
        while not should_stop() and os.getppid() == parent:
            time.sleep(POLL_S)
        _stop()


def _start(num_cpus: int, object_store_bytes: int, dashboard_port: int | None) -> str:
    """Start the cluster, and return its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # With RAY_ADDRESS set, Ray would join another cluster instead of starting one.
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
        raise EnvironmentProblem(f"Ray did not start: {one_line(error)}") from error
    return str(ray.get_runtime_context().gcs_address)


def _own_folder() -> Path:
    """The folder for the sockets and logs of a cluster that takes jobs. No other cluster of the machine uses it."""
    return Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", f"adaswitch-{os.getpid()}")


def _stop() -> None:
    import ray

    ray.shutdown()


if __name__ == "__main__":
    main()
