"""Settings of the Ray cluster and of the rollout queue on it."""

from pydantic import Field

from adaswitch.config.base import Settings


class RayConfig(Settings):
    """The Ray cluster on which students, trainer, queue and weight board meet."""

    address: str | None = None
    """The ``HOST:PORT`` of the cluster's head. The default is the value of RAY_ADDRESS, or else a cluster on this
    machine."""
    namespace: str = "adaswitch"
    """The Ray namespace in which the queue and the weight board are found by name."""
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """The port on the cluster's head at which Prometheus finds the metrics of trainer, queue and students, those of
    all runs together. By default there are none. A cluster has one such port: the first run that names one opens it."""
    metrics_host: str = "127.0.0.1"
    """The address at which the head listens there. It asks for no key, so ``0.0.0.0`` is for a private network."""


class QueueConfig(Settings):
    """The rollout queue."""

    capacity: int = Field(default=4096, ge=1)
    """The largest number of leased prompts and held rollouts together. When it is reached, no prompt is leased until
    the trainer has taken some rollouts."""
    lease_timeout_s: float = Field(default=600.0, gt=0)
    """The number of seconds after which a leased prompt is given to another student if its rollout has not come."""
    silence_timeout_s: float = Field(default=30.0, ge=3)
    """The number of seconds without a sign of life from a student after which its leased prompts are given to other
    students. A student sends a sign of life every second, so a silent student's node is taken to be lost."""
    trainer_timeout_s: float = Field(default=600.0, ge=60)
    """The number of seconds without a sign of life from the trainer after which the run is over. The trainer is then
    taken to have been killed, and the students are free for other runs."""
