"""The rooms of the house, lowest first, and what each may import. A room imports rooms that stand above it in this
table, never one that stands below; libraries that few rooms may use are listed with those rooms.
"""

ROOMS: dict[str, str] = {
    "adaswitch.errors": "",
    "adaswitch.version": "",
    "adaswitch.storage": "errors",
    "adaswitch.last_words": "errors",
    "adaswitch.config.base": "",
    "adaswitch.processes": "errors storage last_words",
    "adaswitch.registry": "errors config.base last_words",
    "adaswitch.method": "errors config.base registry",
    "adaswitch.tasks": "errors config.base registry",
    "adaswitch.config": "errors config.base registry method tasks",
    "adaswitch.contract": "errors method",
    "adaswitch.data": "errors config method tasks contract",
    "adaswitch.runs": "errors version storage last_words config method tasks contract data",
    "adaswitch.teachers": "errors config method contract data",
    "adaswitch.cluster": "errors storage last_words config method processes runs",
    "adaswitch.export": "errors version storage last_words config.base config method tasks data runs",
    "adaswitch.evaluation": "errors storage config method tasks contract data runs processes",
    "adaswitch.chat": "errors config method tasks contract data runs processes evaluation",
    "adaswitch.preflight": "errors config method contract data runs teachers processes",
    "adaswitch.pages": "errors version storage config method tasks contract data runs",
    "adaswitch.commands": "errors version storage config method tasks contract data runs teachers cluster export "
    "evaluation chat preflight pages processes",
    "services": "",
    "services.vllm": "errors last_words",
    "services.teacher.engines": "errors last_words config method contract data processes services.vllm",
    "services.teacher.http": "errors config contract services.teacher.engines",
    "services.teacher": "errors last_words config contract data runs processes services.vllm services.teacher.engines"
    " services.teacher.http",
    "services.student.engines": "errors last_words config method data services.vllm",
    "services.student": "errors last_words config method contract data runs teachers cluster preflight processes "
    "services.vllm services.student.engines",
    "services.evaluation": "errors config method data evaluation processes services.student.engines",
    "trainer.trackers": "errors storage last_words config method data runs",
    "trainer": "errors storage last_words config method tasks contract data runs cluster export evaluation preflight "
    "processes trainer.trackers",
    "experiments": "*",
    "adaswitch": "*",
}
"""Names without a dot in front are rooms of ``adaswitch``; ``*`` is every room above."""

LIBRARIES: dict[str, str] = {
    "ray": "adaswitch.cluster services.student trainer",
    "httpx": "adaswitch.teachers",
    "vllm": "services.teacher.engines services.student.engines",
    "fastapi": "services.teacher.http services.teacher adaswitch.pages",
    "starlette": "services.teacher.http services.teacher adaswitch.pages",
    "uvicorn": "services.teacher.http services.teacher adaswitch.commands",
    "datasets": "adaswitch.data",
    "pyarrow": "adaswitch.data",
    "peft": "adaswitch.data trainer",
    "torchao": "trainer",
    "rouge_score": "adaswitch.tasks",
    "typer": "adaswitch.commands services.teacher services.student services.evaluation trainer experiments",
    "matplotlib": "experiments",
    "huggingface_hub": "adaswitch.data adaswitch.export",
    "tensorboard": "trainer.trackers",
    "wandb": "trainer.trackers",
    "mlflow": "trainer.trackers",
    "trackio": "trainer.trackers",
    "PIL": "trainer.trackers",
    "prometheus_client": "services.teacher.http services.teacher.engines adaswitch.cluster",
}
"""Libraries that belong to some rooms alone, and the rooms that may import them."""

PURE_ROOMS = (
    "adaswitch.errors",
    "adaswitch.config",
    "adaswitch.method",
    "adaswitch.tasks",
    "adaswitch.contract",
)
"""No network, no processes, no files: data in, data out."""
PURE_LIBRARIES = {"torch", "numpy", "pydantic", "pydantic_core", "safetensors", "rouge_score"}
