"""What a student shares its node with."""

import pytest

from services.student.place import Place


@pytest.mark.parametrize(
    ("num_students", "num_nodes", "one_node", "expected"),
    [
        (3, 1, False, Place(3, alone=False)),
        (3, 1, True, Place(3, alone=False)),
        (3, 2, True, Place(3, alone=True)),
        (3, 2, False, Place(2, alone=True)),
        (1, 4, False, Place(1, alone=True)),
        (2, 0, False, Place(2, alone=False)),
    ],
)
def test_students_are_on_one_node_or_spread(
    num_students: int, num_nodes: int, one_node: bool, expected: Place
) -> None:
    assert Place.among(num_students, num_nodes, one_node=one_node) == expected
