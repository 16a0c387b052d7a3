"""Whether the policy of a run can ever switch: what can be said of that before anything is started."""

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError


def check_switching(config: RunConfig) -> None:
    """Raises ``ConfigError`` if no switch can come in any completion, so that the run would be on-policy distillation.

    May import a user's own policy.
    """
    why = config.policy.cannot_switch(config.student.max_new_tokens, config.teacher.top_k)
    if why is not None:
        raise ConfigError(
            f"{why}, so that the teacher never takes over: lower it, or take policy.kind on_policy"
        )
