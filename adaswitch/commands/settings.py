"""``adaswitch config``: every setting of a run, for people, for editors and for the docs."""

import json
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from adaswitch.config.described import REQUIRED, Setting, settings_of
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError

TITLE = "Settings"
HEAD = """\
Every setting of a run, as `adaswitch config --markdown` prints them. A run is described by a YAML file like
`configs/demo.yaml`. Each setting can also be given on the command line as `key.path=value`, as in
`trainer.optimizer.learning_rate=1e-3`. The column "with kind" names the kinds that have a setting; without an entry
every run has it. Editors that know JSON schemas check a file whose first line names `configs/schema.json`.
"""


def settings_below(path: str) -> list[Setting]:
    """The settings at ``path`` and below; all if ``path`` is empty. Raises ``ConfigError`` if there are none."""
    known = settings_of(RunConfig)
    found = [setting for setting in known if not path or f"{setting.path}.".startswith(f"{path}.")]
    if not found:
        groups = dict.fromkeys(setting.path.partition(".")[0] for setting in known)
        raise ConfigError(f"{path}: there is no such setting; the groups are {', '.join(groups)}")
    return found


def print_settings(settings: Sequence[Setting], console: Console) -> None:
    """Print each setting for people: its type and default in one line, and its meaning below."""
    for setting in settings:
        line = Text(setting.path, style="bold cyan")
        line.append(f"  {setting.type}", style="default not bold")
        line.append(
            f"  default: {setting.default}" if setting.default != REQUIRED else "  required", style="green"
        )
        console.print(line, soft_wrap=True)
        if setting.of_kinds:
            console.print(
                Padding(Text(f"with kind {', '.join(setting.of_kinds)}", style="dim"), (0, 0, 0, 4))
            )
        console.print(Padding(Text(setting.meaning), (0, 0, 1, 4)))


def schema() -> str:
    """The JSON schema of a run's config file."""
    return json.dumps(RunConfig.model_json_schema(), indent=2) + "\n"


def markdown() -> str:
    """The page ``docs/settings.md``."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"# {TITLE}\n"
    yield HEAD
    group = None
    for setting in settings_of(RunConfig):
        top = setting.path.partition(".")[0] if "." in setting.path or setting.type == "settings" else ""
        if top != group:
            group = top
            yield f"\n## {group or 'The run'}\n"
            yield "| setting | with kind | what it may be | default | meaning |"
            yield "|---|---|---|---|---|"
        kinds = ", ".join(setting.of_kinds)
        cells = (f"`{setting.path}`", kinds, setting.type, f"`{setting.default}`", setting.meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('``', '`') for cell in cells)} |"
