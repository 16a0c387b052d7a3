"""A teacher's folder before any weight is read: its longest sequence, and kinds that an engine cannot run."""

from pathlib import Path

import pytest
from transformers import AutoConfig

from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.errors import ModelError
from services.teacher.engines.model_folder import ModelFacts, other_engine, read_model_folder
from tests.teacher_models import make_model

ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 48,
    "long_factor": [2.0] * 48,
    "original_max_position_embeddings": 4096,
}


def folder(path: Path, model_type: str, **settings: object) -> Path:
    """The tokenizer of a small model, beside the config of another kind."""
    make_model(path, 60)
    kind = AutoConfig.for_model(model_type, vocab_size=64, tie_word_embeddings=False, **settings)
    kind.save_pretrained(path)
    return path


def facts(model: Path, **settings: object) -> ModelFacts:
    return read_model_folder(TeacherServiceConfig.model_validate({"model": str(model), **settings}))


def test_the_longest_sequence_has_many_names(tmp_path: Path) -> None:
    for model_type, settings, longest in (
        ("gpt2", {"n_positions": 99}, 99),
        ("mpt", {"max_seq_len": 98}, 98),
        ("phi3", {"max_position_embeddings": 131_072, "rope_parameters": ROPE}, 4096),
    ):
        model = folder(tmp_path / model_type, model_type, **settings)
        assert facts(model).max_model_len == longest
        with pytest.raises(ModelError, match=f"^max_model_len: {longest + 1} is more than the {longest} of"):
            facts(model, max_model_len=longest + 1)


def test_a_model_without_a_longest_sequence_needs_the_setting(tmp_path: Path) -> None:
    model = folder(tmp_path / "bloom", "bloom")
    with pytest.raises(
        ModelError, match=r"^max_model_len: .*bloom' does not say how long a sequence may be: set it$"
    ):
        facts(model, engine="transformers")
    assert facts(model, engine="transformers", max_model_len=512).max_model_len == 512


def test_a_kind_that_vllm_computes_wrongly_on_a_cpu_is_for_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path / "cohere", "cohere")
    with pytest.raises(
        ModelError, match=r"cohere' \(cohere\) gets log-probabilities .* up to 4 nats wrong: take"
    ):
        facts(model, engine="vllm")
    assert facts(model, engine="transformers").vocab_size == 60
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert facts(model, engine="vllm").vocab_size == 60


def test_a_kind_that_transformers_cannot_decode_is_for_vllm_to_judge(tmp_path: Path) -> None:
    model = folder(tmp_path / "mamba", "mamba")
    assert facts(model, engine="vllm", max_model_len=64).vocab_size == 60
    with pytest.raises(ModelError, match=r"^model: .*mamba' \(mamba\) keeps a state of another kind"):
        facts(model, engine="transformers", max_model_len=64)
    config = TeacherServiceConfig(model=str(model))
    assert other_engine(config) == "the engine transformers cannot either, so take another model"


def test_what_vllm_cannot_run_is_shown_the_other_engine(tmp_path: Path) -> None:
    config = TeacherServiceConfig(model=str(make_model(tmp_path, 60)))
    assert "(--engine transformers; teacher.serve.engine in a run)" in other_engine(config)
