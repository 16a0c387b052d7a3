"""The exceptions of this project, in one tree.

AdaSwitchError                   every error that this project raises on purpose
├── UserError                    bad input: one line with the cause and the fix, exit code 2
│   ├── ConfigError              a setting: unknown key, wrong type, out of range
│   ├── DataError                a data file or record: names the file and the line
│   ├── ModelError               a model folder, a tokenizer, a length that does not fit
│   ├── EnvironmentProblem       a missing package, an occupied port, a folder that cannot be written
│   │   └── StorageError         a file that cannot be written: the disk is full, read-only or broken
│   └── OwnCodeError             a user's own policy, rule, loss or task failed while it ran
├── TeacherError                 the teacher service answered badly, or not at all
│   ├── TeacherUnavailableError  no answer, overloaded or draining: worth trying again
│   ├── TeacherRejectedError     the request is wrong (4xx): trying again would not help
│   └── TeacherProtocolError     an answer that breaks the contract
├── StudentLostError             the engine that a student writes with has died: others do its work
├── UnmarkedError                a completion that cannot be marked: it counts as neither right nor wrong
├── NonFiniteError               a NaN or an infinity where a finite number is promised
└── QueueError                   the rollout queue
    ├── QueueClosedError         the run is over
    └── StaleAttemptError        the caller belongs to an earlier attempt at the run
"""


class AdaSwitchError(Exception):
    """The base of all errors that this project raises on purpose. All of them can cross from process to process."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # By default Python unpickles an error from its message alone, which fails for errors with more arguments.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[AdaSwitchError], arguments: tuple[object, ...], state: dict[str, object]
) -> AdaSwitchError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def cause_of(error: BaseException) -> BaseException:
    """The error that was raised originally, if ``error`` came through Ray, which wraps errors; else ``error``."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


class UserError(AdaSwitchError):
    """Bad input. The message is one line: what is wrong, and what to do about it."""

    exit_code = 2


class ConfigError(UserError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(UserError):
    """A data file, or a record in it, that cannot be used."""

    def __init__(self, message: str, *, source: str, line: int | None = None) -> None:
        """``source`` is the file or data set; ``line`` is the number of the record, counted from 1."""
        super().__init__(f"{source}, line {line}: {message}" if line is not None else f"{source}: {message}")
        self.message = message
        self.source = source
        self.line = line


class ModelError(UserError):
    """A model folder, a tokenizer or a length that does not fit."""


class EnvironmentProblem(UserError):
    """A problem of the environment: a missing package, an occupied port, a folder that cannot be written."""


class StorageError(EnvironmentProblem):
    """A file cannot be written. The message names the file, the cause, and what to do about it."""


class OwnCodeError(UserError):
    """A user's own policy, switch rule, loss or task that raised, or gave an invalid result, while it ran."""


class TeacherError(AdaSwitchError):
    """The teacher service answered badly, or not at all."""


class TeacherUnavailableError(TeacherError):
    """The teacher service did not answer, or answered 429 or 503. The same request may succeed later."""

    exit_code = 2

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """``retry_after_s`` is the number of seconds that the service asked to wait, if it did."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TeacherRejectedError(TeacherError):
    """The teacher service refused the request (4xx). The same request would be refused again."""

    def __init__(self, message: str, *, status: int, code: str, field: str | None = None) -> None:
        """``status`` is the HTTP status; ``code`` and ``field`` come from the error's body."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field


class TeacherProtocolError(TeacherError):
    """An answer that breaks the contract: wrong shapes, a missing log-probability, another vocabulary."""


class StudentLostError(AdaSwitchError):
    """The engine that a student writes with has died. Its prompts go to others, and another student takes its place."""


class UnmarkedError(AdaSwitchError):
    """A completion cannot be marked. It is counted as unmarked, and never as right or wrong."""


class NonFiniteError(AdaSwitchError):
    """A NaN or an infinity where a finite number is promised."""


class QueueError(AdaSwitchError):
    """The rollout queue cannot do what was asked."""


class QueueClosedError(QueueError):
    """The run is over: no more prompts will come, and no more rollouts are wanted."""


class StaleAttemptError(QueueError):
    """The caller belongs to an earlier attempt at the run, or the queue lost its memory."""
