"""``Place``: what a student shares its node with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """How many students of the run the node has, and whether trainer and teacher are elsewhere."""

    num_students: int
    alone: bool

    @classmethod
    def among(cls, num_students: int, num_nodes: int, *, one_node: bool) -> "Place":
        """The place of each of ``num_students`` on a cluster of ``num_nodes``.

        They are on one of the nodes if ``one_node`` says so, and spread over all of them otherwise. Of a cluster with
        more nodes than one, trainer and teacher are taken to have another one.
        """
        here = num_students if one_node else -(-num_students // max(1, num_nodes))
        return cls(here, alone=num_nodes > 1)
