"""A model that cannot be there is refused before anything is loaded or asked for."""

from pathlib import Path

import pytest

from adaswitch.data.model_folder import check_model_folder
from adaswitch.errors import ModelError


@pytest.mark.parametrize(
    "model", ["/nowhere", "nowhere", "./nowhere", "~/nowhere", "a/b/c", "models/nowhere"]
)
def test_a_path_that_does_not_exist_is_named(model: str) -> None:
    with pytest.raises(ModelError, match=f"^student.model: there is no folder '{model}'"):
        check_model_folder(model, "student.model")


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^model: .* has no config\.json"):
        check_model_folder(str(tmp_path), "model")


def test_a_model_folder_passes() -> None:
    check_model_folder("models/chain-student", "model")
