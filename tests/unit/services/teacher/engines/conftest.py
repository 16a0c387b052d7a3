"""A small model in the transformers engine, for the tests of its answers and of its memory."""

from pathlib import Path

import pytest

from adaswitch.config.teacher import TeacherServiceConfig
from services.teacher.engines.transformers_engine import TransformersEngine
from tests.teacher_models import NUM_ROWS, VOCAB_SIZE, make_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding has more rows than the tokenizer has tokens."""
    return make_model(tmp_path_factory.mktemp("model"), VOCAB_SIZE, num_rows=NUM_ROWS, sharpness=2.0)


@pytest.fixture
async def small_engine(model_folder: Path):
    engine = TransformersEngine(TeacherServiceConfig(model=str(model_folder), engine="transformers"))
    await engine.start()
    yield engine
    await engine.close()
