"""Real expositions of all parts of a run: what Prometheus would read from them."""

import asyncio
from pathlib import Path

from prometheus_client import generate_latest

from adaswitch.cluster.metrics_board import MetricsBoard
from adaswitch.cluster.rollout_queue import RolloutQueue
from adaswitch.evaluation.evaluation import Evaluation
from adaswitch.method.metrics import rollout_metrics
from adaswitch.runs.config_files import load_config
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.exported import Report
from adaswitch.tasks.scores import Interval, Score
from services.student.figures import StudentFigures
from tests.fakes import random_rollout
from tests.teacher_fakes import FakeEngine, http_client, running_app
from trainer.recorder import Recorder
from trainer.update import Update

SECONDS = {"wait_s": 0.5, "update_s": 0.25, "publish_s": 0.125}


def student_report(name: str = "student-1") -> Report:
    """What a student reports that has made two rollouts."""
    figures = StudentFigures()
    with figures.writing, figures.with_teacher:
        figures.made([random_rollout(0), random_rollout(1)])
    return Report("student", name, tuple(figures.samples()))


async def _queue_reports() -> list[Report]:
    queue = RolloutQueue(10, 10.0)
    await queue.begin("a")
    student = student_report()
    await queue.heard(student.source, student)
    return await queue.reports()


def trainer_report(folder: Path, name: str, source: str = "attempt-1") -> Report:
    """What a trainer reports that has made an update and an evaluation."""
    config = load_config("configs/demo.yaml", [f"runs_dir={folder}", f"name={name}", "trackers=[]"])
    recorder = Recorder(RunDirectory.create(config), config, 0)
    rollouts = [random_rollout(seed) for seed in range(4)]
    update = Update(1.0, 0.5, 2.0, 0.5, 1e-3, 28, 1.0)
    recorder.step(0, update, rollout_metrics(rollouts, 7), SECONDS, queue_depth=3)
    score = Score("eval", "exact_match", 0.5, Interval(0.25, 0.75, "Wilson"), 8, 0)
    recorder.evaluation(1, Evaluation("chain", [score], []), 2.0)
    recorder.close()
    return Report("trainer", source, recorder.figures.samples())


def runs_exposition(folder: Path, *names: str) -> str:
    """What the metrics board serves of runs of these ``names``."""
    board = MetricsBoard("127.0.0.1", 0)
    for name in names:
        board.report(name, [trainer_report(folder, name), *asyncio.run(_queue_reports())])
    return generate_latest(board.registry).decode()


async def teacher_exposition() -> str:
    """What a teacher serves that has answered, refused and given up requests."""
    async with running_app(FakeEngine()) as app, http_client(app) as client:
        score = {"sequences": [{"token_ids": [3, 1, 4], "start": 2}], "top_k": 3}
        generate = {"prompts": [{"token_ids": [3, 1], "max_tokens": 4, "seed": 7}], "top_k": 2}
        await client.post("/v1/score", json=score)
        await client.post("/v1/generate", json=generate)
        metrics = app.state.service.metrics
        for code in ("429", "500"):
            metrics.requests.labels("/v1/score", code).inc()
        metrics.cancelled.labels("deadline").inc()
        return metrics.text()
