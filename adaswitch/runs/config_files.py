"""Reading and writing configuration files: YAML to ``RunConfig`` and back."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError
from adaswitch.storage import write_atomically


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with one exception: ``1e-3`` is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The run that ``path`` describes, with ``key.path=value`` overrides. Raises ``ConfigError``."""
    document = read_yaml(path)
    return parse_config(with_overrides(document, [parse_override(text) for text in overrides]))


def read_yaml(path: str | Path) -> dict[str, object]:
    """The mapping in a YAML file. Raises ``ConfigError`` with the file, and the line if it is known."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"config file {path}: {reason}; ready ones are in configs/") from None
    document = _parse_yaml(text, f"config file {path}")
    if not isinstance(document, dict):
        raise ConfigError(f"config file {path}: must be a mapping of settings, as in configs/demo.yaml")
    return document


def parse_override(text: str) -> tuple[str, object]:
    """``trainer.num_steps=10`` as ``("trainer.num_steps", 10)``. The value is read as YAML."""
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise ConfigError(f"override {text!r}: write key.path=value, as in trainer.num_steps=10")
    return path, _parse_yaml(value, f"override {text!r}")


def write_config(config: RunConfig, path: Path) -> None:
    """Write every setting of ``config`` to ``path``, including the defaults. Raises ``StorageError``."""
    write_atomically(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())


def _parse_yaml(text: str, source: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{source}, line {line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not YAML: {str(error).splitlines()[0]}") from None
