"""From a run to the run that makes its student: supervised fine-tuning by the same trainer."""

from adaswitch.config.parsing import parse_config
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError

SUFFIX = "-sft"
"""What the name of the fine-tuning has behind the name of the run."""


def fine_tuning(config: RunConfig) -> RunConfig:
    """The run whose trained model is the student of ``config``.

    It trains ``warm_start.model`` on the answers of the same task, with the trainer's settings but for those that
    ``warm_start`` has itself. Raises ``ConfigError`` if ``config`` says nothing of a warm start, or asks for ranks.
    """
    warm = config.warm_start
    if warm is None:
        raise ConfigError(
            "warm_start: nothing says which model is fine-tuned: name it, as in "
            "warm_start.model=Qwen/Qwen2.5-0.5B-Instruct; its copy goes into the folder student.model"
        )
    if config.trainer.num_ranks > 1:
        raise ConfigError(
            f"trainer.num_ranks: fine-tuning is done in one process, and {config.trainer.num_ranks} ranks are asked "
            "for: set trainer.num_ranks=1, with trainer.lora or trainer.gradient_checkpointing if memory is short"
        )
    student = config.student
    trainer = config.trainer.model_dump(mode="json") | {
        "num_steps": warm.num_steps,
        "prompts_per_step": warm.prompts_per_step,
        "optimizer": warm.optimizer.model_dump(mode="json"),
        "loss": {"kind": "cross_entropy"},
        "time_limit_s": None,
        "max_staleness": 0,
        "eval_by": "trainer",
        "save_rollouts": False,
    }
    document = config.model_dump(mode="json") | {
        "name": f"{config.name}{SUFFIX}",
        "teacher": {},
        "teacher_budget": {},
        "student": {
            "model": warm.model,
            "max_new_tokens": student.max_new_tokens,
            "stop_token_ids": student.stop_token_ids,
        },
        "warm_start": None,
        "policy": {"kind": "sft"},
        "trainer": trainer,
    }
    return parse_config(document)
