"""The figures of a run: what each is called, in which unit, and what it is, in one sentence.

Page, terminal, dashboard and trackers take their words from here, and ``docs/seeing.md`` explains each in these words.
A figure's key is its name in ``metrics.jsonl`` and, behind ``train/``, in the trackers.
"""

from dataclasses import dataclass

SHARE = "share"
"""The unit of a number from 0 to 1, which is shown in percent."""


@dataclass(frozen=True)
class Figure:
    """One figure: its words for people, its unit, which is empty for a plain number, and what it is."""

    words: str
    unit: str
    meaning: str
    short: str = ""
    """The words where there is little room, as in a progress bar."""

    @property
    def brief(self) -> str:
        """The shortest words."""
        return self.short or self.words

    @property
    def label(self) -> str:
        """The words with the unit, where the number does not show it."""
        return self.words if self.unit in ("", SHARE) else f"{self.words}, {self.unit}"


FIGURES: dict[str, Figure] = {
    "loss": Figure("loss", "nats a token", "The mean of the minimised loss over the tokens of a step."),
    "loss_on_student_tokens": Figure(
        "loss on the student's tokens",
        "nats a token",
        "The plain mean of the loss over the tokens that the student wrote.",
    ),
    "loss_on_teacher_tokens": Figure(
        "loss on the teacher's tokens",
        "nats a token",
        "The plain mean of the loss over the tokens that the student did not write.",
    ),
    "switch_rate": Figure(
        "rollouts that switched",
        SHARE,
        "The share of a step's rollouts with a token that the student did not write.",
        short="switched",
    ),
    "late_switch_rate": Figure(
        "switches that came too late",
        SHARE,
        "The share of switches behind a token of the student's that the teacher gives less than 0.02, which nothing "
        "behind it can mend.",
    ),
    "late_switch_rate_at_random": Figure(
        "too late at places drawn at random",
        SHARE,
        "The share of such switches that places drawn at random among the same rollouts would give.",
    ),
    "could_switch_rate": Figure(
        "rollouts that are long enough to switch",
        SHARE,
        "The share of a step's rollouts that reach the first place where the policy can switch.",
    ),
    "closest_to_threshold": Figure(
        "closest to the threshold", "", "The largest ratio of a divergence to its threshold in a step."
    ),
    "mean_switch_position": Figure(
        "mean switch position",
        "tokens",
        "The mean place of the first token that the student did not write, counted from 0, over the rollouts that have "
        "one.",
    ),
    "mean_completion_tokens": Figure(
        "mean length", "tokens", "The mean number of tokens in a completion of a step."
    ),
    "mean_divergence": Figure(
        "mean divergence",
        "nats",
        "The mean divergence of the two models at the tokens where both distributions were seen.",
    ),
    "divergence_tail": Figure(
        "one divergence in twenty is above",
        "times the mean",
        "How many times the mean divergence one divergence in twenty exceeds.",
    ),
    "mean_teacher_entropy_exploration": Figure(
        "teacher's entropy on the student's text",
        "nats a token",
        "How unsure the teacher is at the tokens that the student wrote, over the rollouts that have tokens of both.",
    ),
    "mean_teacher_entropy_guidance": Figure(
        "teacher's entropy on its own text",
        "nats a token",
        "How unsure the teacher is at the tokens after the switch, over the rollouts that have tokens of both.",
    ),
    "student_tokens": Figure(
        "written by the student",
        "tokens",
        "All tokens that the student wrote, also those that were thrown away.",
    ),
    "wasted_tokens": Figure(
        "of these after a switch, thrown away",
        "tokens",
        "The student's tokens that are in no completion: behind a switch, written ahead of it, or cut back.",
    ),
    "scored_tokens": Figure(
        "scored by the teacher",
        "tokens",
        "The tokens at which the teacher gave a distribution, beside those that it wrote.",
    ),
    "teacher_tokens": Figure("written by the teacher", "tokens", "The tokens that the teacher wrote."),
    "num_tokens": Figure("trained on", "tokens", "The tokens of the completions that an update was made on."),
    "counted_share": Figure(
        "tokens that count", SHARE, "The share of a step's tokens whose weight in the loss is above 0."
    ),
    "stop_rate": Figure(
        "completions that ended by themselves",
        SHARE,
        "The share of a step's completions that end with an end-of-sequence token.",
    ),
    "budget_cut_rate": Figure(
        "rollouts that the budget cut short",
        SHARE,
        "The share of a step's rollouts that end where the teacher had no tokens left to write.",
    ),
    "budget_spent_rate": Figure(
        "rollouts that spent their budget",
        SHARE,
        "The share of a step's rollouts for which the teacher wrote all the tokens that it might.",
    ),
    "wait_s": Figure(
        "waiting for rollouts", "seconds", "The time in which the trainer had nothing to train on."
    ),
    "update_s": Figure(
        "forward, backward, optimizer", "seconds", "The time in which the trainer made its updates."
    ),
    "publish_s": Figure(
        "publishing weights", "seconds", "The time in which the trainer gave new weights to the students."
    ),
    "eval_s": Figure("evaluating", "seconds", "The time in which held-out prompts were answered and marked."),
    "write_s": Figure(
        "the student's writing", "seconds", "The time that a rollout waited for the student's writing."
    ),
    "score_s": Figure(
        "the teacher's scores", "seconds", "The time that a rollout waited for the teacher's scores."
    ),
    "generate_s": Figure(
        "the teacher's writing", "seconds", "The time that a rollout waited for the teacher's writing."
    ),
    "step_s": Figure(
        "time of a step",
        "seconds",
        "The time from the end of one step to the end of the next, without evaluations.",
    ),
    "staleness": Figure(
        "staleness",
        "updates",
        "By how many updates the oldest rollout of a step was behind the weights that it trained.",
    ),
    "queue_depth": Figure(
        "rollouts in the queue", "rollouts", "The rollouts that were ready when the trainer took a step's."
    ),
    "grad_norm": Figure("gradient norm", "", "The norm of the gradient before clipping."),
    "learning_rate": Figure("learning rate", "", "The learning rate of an update."),
}
"""By their names in ``metrics.jsonl``; ``eval_s`` is in ``eval.jsonl``."""


@dataclass(frozen=True)
class ChartWords:
    """What a chart of figures is called, the unit of its lines, and what it shows, in one sentence."""

    title: str
    unit: str
    meaning: str


CHARTS: dict[str, ChartWords] = {
    "loss": ChartWords(
        "Loss",
        "nats a token",
        "The loss that was minimised, and its plain means by who wrote the token.",
    ),
    "switch_rate": ChartWords(
        "Rollouts that switched",
        SHARE,
        "The share of a step's rollouts that the teacher, or the data, took over.",
    ),
    "late": ChartWords(
        "Switches that came too late",
        SHARE,
        "The share of switches behind a token that the teacher hardly ever writes, and what chance would give.",
    ),
    "place": ChartWords(
        "Place of the switch",
        "tokens",
        "The mean position of the first token that the student did not write, beside the mean length.",
    ),
    "divergence": ChartWords(
        "Divergence",
        "nats",
        "The mean divergence of the two models at the tokens where both distributions were seen.",
    ),
    "tail": ChartWords(
        "Tail of the divergences",
        "times the mean",
        "How many times the mean divergence one divergence in twenty exceeds.",
    ),
    "entropy": ChartWords(
        "The teacher's entropy",
        "nats a token",
        "How unsure the teacher is on the student's text, and on its own after the switch.",
    ),
    "tokens": ChartWords("Tokens", "tokens a step", "Tokens by who handled them, in one step."),
    "phases": ChartWords(
        "Where the time went", "seconds a step", "The seconds of a step by what the trainer did."
    ),
    "rollouts": ChartWords(
        "Where a rollout's time went",
        "seconds a rollout",
        "The seconds that a rollout waited, by whom it waited for.",
    ),
    "staleness": ChartWords(
        "Staleness",
        "updates",
        "By how many updates the oldest rollout of a step was behind the weights that it trained.",
    ),
    "queue": ChartWords(
        "Queue", "rollouts", "The rollouts that were waiting in the queue when the trainer took a step's."
    ),
    "gradient": ChartWords("Gradient norm", "before clipping", "The norm of the gradient before clipping."),
    "rate": ChartWords("Learning rate", "", "The learning rate of each update."),
}
"""The charts of a run's page. Panels of the dashboard that show the same have the same titles."""
DASHBOARD: dict[str, ChartWords] = {
    "step": ChartWords(
        "Step",
        "",
        "The number of updates that made the present weights, and after how many the run is complete.",
    ),
    "left": ChartWords(
        "Time left", "seconds", "The steps that are left, at the pace of the newest, without evaluations."
    ),
    "marks": ChartWords(
        "Evaluation",
        SHARE,
        "The marks of held-out prompts in the newest evaluation, with their 95 % intervals.",
    ),
    "students": ChartWords("Students", "", "The students that give signs of life."),
    "traffic": ChartWords(
        "Prompts and rollouts",
        "a second",
        "How many prompts the trainer offers and how many rollouts come in; those that came twice, and leases that "
        "expired.",
    ),
    "idle": ChartWords(
        "Idle",
        SHARE,
        "The share of the time in which a student's model wrote nothing, the trainer waited for rollouts, and the "
        "teacher's engine had no request.",
    ),
}
"""The panels of the dashboard that no page has."""
