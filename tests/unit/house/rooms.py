"""The rooms of the house, lowest first, and what each may import. A room imports rooms that stand above it in this
table, never one that stands below; libraries that few rooms may use are listed with those rooms.
"""

ROOMS: dict[str, str] = {
    "adaswitch.errors": "",
    "adaswitch.version": "",
    "adaswitch.config.base": "",
    "adaswitch.processes": "errors",
    "adaswitch.registry": "errors config.base",
    "adaswitch.method": "errors config.base registry",
    "adaswitch.tasks": "errors config.base registry",
    "adaswitch.config": "errors config.base registry method tasks",
    "adaswitch.contract": "errors method",
    "adaswitch.data": "errors config tasks contract",
    "adaswitch.runs": "errors config method tasks contract data",
    "adaswitch.teachers": "errors config contract data",
    "adaswitch.cluster": "errors config method processes runs",
    "adaswitch.evaluation": "errors config method tasks contract data runs",
    "adaswitch.commands": "errors version config method tasks contract data runs teachers cluster evaluation processes",
    "services": "",
    "services.teacher.engines": "errors config method contract data",
    "services.teacher.http": "errors config contract services.teacher.engines",
    "services.teacher": "errors config contract data runs processes services.teacher.engines services.teacher.http",
    "services.student.engines": "errors method",
    "services.student": "errors config method contract data runs teachers cluster processes services.student.engines",
    "trainer": "errors config method tasks contract data runs cluster evaluation processes",
    "experiments": "*",
    "adaswitch": "*",
}
"""Names without a dot in front are rooms of ``adaswitch``; ``*`` is every room above."""

LIBRARIES: dict[str, str] = {
    "ray": "adaswitch.cluster services.student trainer",
    "httpx": "adaswitch.teachers",
    "vllm": "services.teacher.engines services.student.engines",
    "fastapi": "services.teacher.http services.teacher",
    "starlette": "services.teacher.http services.teacher",
    "uvicorn": "services.teacher.http services.teacher",
    "datasets": "adaswitch.data",
    "pyarrow": "adaswitch.data",
    "rouge_score": "adaswitch.tasks",
    "typer": "adaswitch.commands services.teacher services.student trainer experiments",
    "matplotlib": "experiments",
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
