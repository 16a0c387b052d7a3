"""The parts of a student, built from a run's settings: its engine, its calls to the teacher, its limits."""

from dataclasses import dataclass

import torch

from adaswitch.config.run import RunConfig
from adaswitch.contract.wire import ModelInfo
from adaswitch.data.model_folder import STUDENT
from adaswitch.data.models import check_teacher, load_tokenizer, max_positions
from adaswitch.data.run_models import student_vocabulary
from adaswitch.data.stop_tokens import find_stop_tokens
from adaswitch.data.token_texts import bound
from adaswitch.data.vocabulary import shared_size
from adaswitch.method.policies.base import Policy
from services.student.engines import make_engine
from services.student.engines.engine import ContinuousEngine, Sampling, StudentEngine
from services.student.teacher_calls import Client, TeacherCalls


@dataclass(frozen=True)
class StudentParts:
    """All parts of a student, for the teacher that ``info`` describes."""

    engine: StudentEngine | ContinuousEngine
    teacher: TeacherCalls
    policy: Policy
    """The run's policy, bound to the tokenizer."""
    stop_token_ids: list[int]
    max_tokens: int
    """The longest sequence, in tokens, that both student and teacher take."""


def build_student(config: RunConfig, client: Client, info: ModelInfo) -> StudentParts:
    """The student's parts. Raises ``ModelError`` if its model cannot be loaded, or the teacher's tokenizer differs."""
    student = config.student
    tokenizer = load_tokenizer(student.model)
    check_teacher(info, tokenizer, student.model)
    vocab_size = shared_size(student_vocabulary(student.model, tokenizer), info.vocab_size, info.model)
    ends = [("the teacher", token) for token in info.stop_token_ids]
    stops = find_stop_tokens(student.model, tokenizer, vocab_size, STUDENT, student.stop_token_ids, ends).ids
    if unknown := [token for token in info.stop_token_ids if token not in stops]:
        print(
            f"the teacher ends its texts with {unknown}, which ends no completion: see student.stop_token_ids"
        )
    sampling = Sampling(config.seed, student.temperature, stops)
    max_tokens = min(info.max_model_len, max_positions(student.model))
    return StudentParts(
        engine=make_engine(student, vocab_size, sampling, max_tokens, _device(student.device), _say),
        teacher=TeacherCalls(client, info, config.teacher, vocab_size, config.seed, stops),
        policy=bound(config.policy, tokenizer, vocab_size),
        stop_token_ids=stops,
        max_tokens=max_tokens,
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
