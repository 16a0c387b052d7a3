"""What vLLM is started with."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ModelError
from services.teacher.engines.model_folder import read_model_folder
from services.teacher.engines.vllm.engine import kv_block_size
from services.teacher.engines.vllm.speculative import speculative_settings
from services.teacher.engines.vllm.worker import repeat_for_tokens
from tests.teacher_models import make_model


@pytest.mark.parametrize(
    ("given", "on_cpu", "expected"),
    [(None, True, 32), (None, False, None), (128, True, 128), (64, False, 64)],
)
def test_the_caches_blocks_are_small_on_cpu_unless_said_otherwise(
    given: int | None, on_cpu: bool, expected: int | None
) -> None:
    config = TeacherServiceConfig(model="-", kv_block_size=given)
    assert kv_block_size(config, on_cpu=on_cpu) == expected


def draft_of(model: Path, **settings: object) -> dict[str, object] | None:
    config = TeacherServiceConfig.model_validate({"model": str(model), **settings})
    return speculative_settings(config, read_model_folder(config))


def test_there_is_no_draft_unless_one_is_asked_for(tmp_path: Path) -> None:
    teacher, draft = make_model(tmp_path / "teacher", 67), make_model(tmp_path / "draft", 67)
    assert draft_of(teacher) is None
    assert draft_of(teacher, speculative="ngram", speculative_tokens=3) == {
        "method": "ngram",
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 1,
        "num_speculative_tokens": 3,
    }
    assert draft_of(teacher, speculative=str(draft)) == {
        "method": "draft_model",
        "model": str(draft),
        "num_speculative_tokens": 4,
    }


def test_a_draft_with_other_tokens_or_other_rows_or_none_at_all_is_refused(tmp_path: Path) -> None:
    teacher = make_model(tmp_path / "teacher", 67)
    other, padded = make_model(tmp_path / "other", 64), make_model(tmp_path / "padded", 67, num_rows=80)
    with pytest.raises(ModelError, match=r"speculative: .*other' and the teacher .* different tokenizers"):
        draft_of(teacher, speculative=str(other))
    with pytest.raises(ModelError, match=r"speculative: .*padded' has 80 rows of tokens, .* has 67"):
        draft_of(teacher, speculative=str(padded))
    with pytest.raises(ModelError, match=r"speculative: .*nowhere"):
        draft_of(teacher, speculative=str(tmp_path / "nowhere"))


def test_only_vllm_takes_a_draft() -> None:
    with pytest.raises(ValidationError, match="speculative: only the engine vllm takes a draft"):
        TeacherServiceConfig(model="-", engine="transformers", speculative="ngram")


def test_each_token_of_a_draft_has_its_requests_temperature() -> None:
    output = torch.empty(5)
    temperatures, ends = torch.tensor([0.5, 0.0, 2.0, 0.7]), torch.tensor([2, 3, 3, 5], dtype=torch.int32)
    repeat_for_tokens(output, temperatures, ends, 0, 1)
    torch.testing.assert_close(output, torch.tensor([0.5, 0.5, 1.0, 0.7, 0.7]))
