"""All that a page shows of a run, in parts that can be read anew one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from adaswitch.config.run import RunConfig
from adaswitch.errors import AdaSwitchError, DataError
from adaswitch.pages.curves import METRIC_FIELDS, curves
from adaswitch.pages.pieces import NumberTexts, Texts, TokenizerTexts
from adaswitch.pages.reading import Problems, complete, readable_records
from adaswitch.pages.rollouts import Gallery
from adaswitch.pages.settings import settings_table
from adaswitch.pages.verdict import verdict
from adaswitch.runs.answers import AnswerMarker
from adaswitch.runs.directory import CONFIG_FILE, NUMBER, RunDirectory
from adaswitch.runs.environment import kept_environment
from adaswitch.runs.kept import load_kept_tokenizer, tokenizer_folder
from adaswitch.runs.overview import is_run
from adaswitch.runs.recorded import shards_by_step, why_missing
from adaswitch.runs.run_health import HEALTH_FIELDS
from adaswitch.runs.summary import EVAL_FIELDS, STEP_FIELDS
from adaswitch.runs.waits import WAIT_FIELDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLLOUT_BYTES = 3_000_000
"""What the rollouts of a page may take: with it a page of a thousand steps stays below five megabytes."""
MAX_RAW_CHARACTERS = 20_000

Part = dict[str, object]


class PageSource:
    """Reads the parts of the page of one run. A part can be read again while the run goes on."""

    def __init__(self, run: RunDirectory, rollout_bytes: int = ROLLOUT_BYTES) -> None:
        """``rollout_bytes`` is what all rollouts together may take."""
        self.run = run
        self._rollout_bytes = rollout_bytes
        self._gallery: Gallery | None = None
        self.lasting = Problems()
        """What was found wrong once, when the tokenizer and the data were read."""

    @classmethod
    def open(cls, path: str | Path, rollout_bytes: int = ROLLOUT_BYTES) -> "PageSource":
        """The source of the run at ``path``. Raises ``DataError`` if nothing there says that it is a run."""
        if not is_run(Path(path)):
            raise DataError(
                "no run is here (no config.yaml, status.json or metrics.jsonl); runs are folders like runs/demo",
                source=str(path),
            )
        return cls(RunDirectory(Path(path)), rollout_bytes)

    def figures(self) -> Part:
        """The verdict, the curves and the settings, which follow from small files."""
        problems, unknown = Problems(), dict[str, str]()
        config = problems.without(self._config, None)
        fields = {**METRIC_FIELDS, **HEALTH_FIELDS, **WAIT_FIELDS, **STEP_FIELDS}
        metrics = readable_records(self.run.metrics, fields, problems)
        metrics = complete(metrics, {"step": NUMBER}, "the page is", problems)
        evals = readable_records(self.run.evals, EVAL_FIELDS, problems)
        return {
            "verdict": verdict(self.run, config, metrics, evals, problems),
            "curves": curves(metrics, evals),
            "settings": [] if config is None else settings_table(config),
            "settings_text": self._raw_settings() if config is None else "",
            "environment": problems.without(lambda: kept_environment(self.run), unknown),
            "problems": problems.lines,
        }

    def rollouts(self) -> Part:
        """A choice of the rollouts that are kept, and what could not be read of them."""
        problems, none = Problems(), dict[int, Path]()
        shards = problems.without(lambda: shards_by_step(self.run), none)
        if not shards:
            return {"rollouts": [], "tokens": {}, "shown": 0, "kept": 0, "steps": 0, "problems": []}
        content = self.gallery.collect(shards, self._rollout_bytes, problems)
        missing = problems.without(lambda: why_missing(self.run), "")
        return {**content, "missing": missing, "problems": [*self.lasting.lines, *problems.lines]}

    @property
    def gallery(self) -> Gallery:
        """What shows the run's rollouts. Opened when it is first asked for, which reads the tokenizer and the data."""
        if self._gallery is None:
            self._gallery = self._open_gallery()
        return self._gallery

    def _config(self) -> RunConfig:
        if not (self.run.path / CONFIG_FILE).is_file():
            raise DataError("the run has lost its settings", source=str(self.run.path / CONFIG_FILE))
        return self.run.settings()

    def _raw_settings(self) -> str:
        """The file of settings as it is, where it is not understood."""
        path = self.run.path / CONFIG_FILE
        try:
            return path.read_bytes().decode(errors="replace")[:MAX_RAW_CHARACTERS]
        except OSError:
            return ""

    def _open_gallery(self) -> Gallery:
        """What shows rollouts: with the text of tokens and with marks, as far as both can be had."""
        config: RunConfig | None
        try:
            config = self._config()
        except AdaSwitchError:  # Said where the settings are shown.
            config = None
        tokenizer = self.lasting.without(lambda: self._tokenizer(config), None)
        texts: Texts = NumberTexts() if tokenizer is None else TokenizerTexts(tokenizer)
        if tokenizer is None or config is None:
            self.lasting.add("answers are not marked, for want of the settings or of the tokenizer")
            return Gallery(texts, None)
        marker = AnswerMarker(self.run, config, tokenizer)
        if marker.problem:
            self.lasting.add(f"answers are not marked: {marker.problem}")
            return Gallery(texts, None)
        return Gallery(texts, marker.answer_of)

    def _tokenizer(self, config: RunConfig | None) -> "PreTrainedTokenizerBase":
        if config is not None:
            return load_kept_tokenizer(self.run, config)
        # Imported here, because transformers takes seconds to import.
        from adaswitch.data.models import load_tokenizer

        return load_tokenizer(str(tokenizer_folder(self.run)), "the run's tokenizer")


def whole_page(source: PageSource, say: Callable[[str], None] = lambda words: None) -> dict[str, Part]:
    """All parts of the page of ``source``. ``say`` is told what is being done, for people."""
    say("reading the records")
    figures = source.figures()
    say("reading rollouts")
    return {"figures": figures, "rollouts": source.rollouts()}
