"""docker-compose.yml and what it mounts: nothing that keeps the stack shut is lost by an edit."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaswitch.runs.config_files import load_config

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))
RANKS = yaml.safe_load((ROOT / "docker-compose.ranks.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = ("teacher", "ray-head", "student", "trainer")

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@every_service
def test_services_have_no_rights_and_limits(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["restart"]
    assert service["networks"] == ["private"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", OWN)
def test_own_services_are_not_root_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].startswith("${ADASWITCH_USER:?")
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp:exec,mode=1777"]


def test_only_teacher_job_server_and_dashboard_are_published() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"teacher", "ray-head", "grafana"}


def test_nothing_starts_without_a_key_and_a_token() -> None:
    assert SERVICES["teacher"]["environment"]["ADASWITCH_API_KEY"].startswith("${ADASWITCH_API_KEY:?")
    for name in ("ray-head", "student", "trainer"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_each_waits_until_what_it_needs_is_healthy() -> None:
    healthy = {"condition": "service_healthy"}
    assert SERVICES["student"]["depends_on"] == {"ray-head": healthy}
    assert SERVICES["trainer"]["depends_on"] == dict.fromkeys(("teacher", "ray-head", "student"), healthy)


def test_the_override_for_gpus_changes_services_that_there_are() -> None:
    assert set(GPU["services"]) <= set(SERVICES)


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{(\w+)", text))
    assert wanted == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))


def test_the_variant_with_ranks_has_a_place_for_each_and_the_arguments_are_settings() -> None:
    services = RANKS["services"]
    assert services.keys() == {"ray-head", "trainer"}
    places = json.loads(services["ray-head"]["environment"]["RAY_HEAD_RESOURCES"])
    config_file, *overrides = services["trainer"]["command"][1:]
    assert config_file == SERVICES["trainer"]["command"][1]
    trainer = load_config(ROOT / "configs/demo.yaml", overrides).trainer
    assert trainer.rank_resources == {"rank": 1.0}
    assert places == {"rank": trainer.num_ranks}
    assert trainer.num_ranks == 2
