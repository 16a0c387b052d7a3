"""The Kubernetes manifests: what they name is there, and fits the services that they start."""

import json
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from adaswitch.config.threads import reserved_cpus
from adaswitch.runs.config_files import load_config
from services.teacher.__main__ import KEY_VARIABLE, parse_arguments
from services.teacher.http.app import router
from services.teacher.http.auth import PROTECTED_PREFIX

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
RUN = load_config(DEPLOY / "run.yaml")
KUSTOMIZATION = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text(encoding="utf-8"))
NOT_MANIFESTS = {"kustomization.yaml", "run.yaml"}
BY_HAND = {"secret.example.yaml", "jobs.yaml"}
IMAGES = {"adaswitch-teacher:latest", "adaswitch-student:latest", "adaswitch-trainer:latest"}
MANIFESTS = {
    path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for path in sorted(DEPLOY.glob("*.yaml"))
    if path.name not in NOT_MANIFESTS
}
DOCUMENTS = [document for documents in MANIFESTS.values() for document in documents]


def find(kind: str, name: str) -> dict[str, Any]:
    """The one document of that kind and name."""
    [found] = [
        document for document in DOCUMENTS if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def names(kind: str) -> set[str]:
    return {document["metadata"]["name"] for document in DOCUMENTS if document["kind"] == kind}


TEACHER = find("Deployment", "teacher")["spec"]["template"]
CLUSTER = find("RayCluster", "adaswitch")
HEAD_GROUP = CLUSTER["spec"]["headGroupSpec"]
[WORKER_GROUP] = CLUSTER["spec"]["workerGroupSpecs"]
SECRET = find("Secret", "adaswitch-keys")
PODS = {
    "teacher": TEACHER["spec"],
    "head": HEAD_GROUP["template"]["spec"],
    "students": WORKER_GROUP["template"]["spec"],
}
[TEACHER_PORT] = TEACHER["spec"]["containers"][0]["ports"]
[GENERATED] = KUSTOMIZATION["configMapGenerator"]
JOBS = {document["metadata"]["name"]: document["spec"] for document in MANIFESTS["jobs.yaml"]}

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
every_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [only] = pod["containers"]
    return only


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    """The plain variables with their values, the others with where they come from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(pod)["env"]}


def mounts(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By path: the mount, and in ``source`` the volume that it shows."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {
        mount["mountPath"]: {**mount, "source": volumes[mount["name"]]}
        for mount in container(pod)["volumeMounts"]
    }


def references(node: object, key: str) -> Iterator[Any]:
    """The value of every ``key`` anywhere below ``node``."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from references(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from references(value, key)


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def test_every_document_is_an_object_with_a_name() -> None:
    for document in DOCUMENTS:
        assert {"apiVersion", "kind", "metadata"} <= set(document)
        assert document["metadata"]["name"]


def test_the_kustomization_leaves_out_the_example_secret_and_the_jobs_alone() -> None:
    assert set(KUSTOMIZATION["resources"]) == set(MANIFESTS) - BY_HAND


def test_all_of_it_lives_in_the_one_namespace() -> None:
    [namespace] = names("Namespace")
    assert KUSTOMIZATION["namespace"] == namespace
    for document in DOCUMENTS:
        assert document["metadata"].get("namespace", namespace) == namespace
    for name in BY_HAND:
        assert {document["metadata"].get("namespace") for document in MANIFESTS[name]} == {namespace}


def test_the_example_secret_holds_nothing_that_could_be_taken_for_a_key() -> None:
    assert set(SECRET["stringData"]) == {KEY_VARIABLE, "auth_token"}
    assert all(value.startswith("replace-me") for value in SECRET["stringData"].values())
    assert "data" not in SECRET


def test_the_readme_creates_the_secret_with_the_keys_of_the_example() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert f"create secret generic {SECRET['metadata']['name']}" in text
    for key in SECRET["stringData"]:
        assert f"--from-literal={key}=" in text


def test_every_key_that_a_pod_takes_from_a_secret_is_in_the_example() -> None:
    taken = list(references(DOCUMENTS, "secretKeyRef"))
    assert taken
    for reference in taken:
        assert reference["name"] == SECRET["metadata"]["name"]
        assert reference["key"] in SECRET["stringData"]


def test_kuberay_finds_rays_token_under_the_name_that_it_looks_for() -> None:
    options = CLUSTER["spec"]["authOptions"]
    assert options == {"mode": "token", "secretName": SECRET["metadata"]["name"]}
    for pod in (PODS["head"], PODS["students"]):
        assert environment(pod)["RAY_AUTH_MODE"] == "token"
        assert environment(pod)["RAY_AUTH_TOKEN"]["secretKeyRef"]["key"] == "auth_token"


@every_pod
def test_every_pod_has_the_teachers_key(pod: dict[str, Any]) -> None:
    assert RUN.teacher.api_key_env == KEY_VARIABLE
    assert environment(pod)[KEY_VARIABLE]["secretKeyRef"]["key"] == KEY_VARIABLE


def test_every_config_map_and_claim_is_there() -> None:
    assert {reference["name"] for reference in references(DOCUMENTS, "configMap")} == {GENERATED["name"]}
    assert GENERATED["files"] == ["run.yaml"]
    # With a suffix the RayCluster would name a ConfigMap that is not there.
    assert KUSTOMIZATION["generatorOptions"]["disableNameSuffixHash"]
    claims = {claim["claimName"] for claim in references(DOCUMENTS, "persistentVolumeClaim")}
    assert claims == names("PersistentVolumeClaim")


@every_pod
def test_every_volume_is_mounted_and_every_mount_has_one(pod: dict[str, Any]) -> None:
    assert {mount["name"] for mount in container(pod)["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert mounts(pod)["/dev/shm"]["source"]["emptyDir"]["medium"] == "Memory"


@every_pod
def test_models_are_read_where_the_run_looks_for_them(pod: dict[str, Any]) -> None:
    models = mounts(pod)["/app/models"]
    assert models["readOnly"]
    assert models["source"]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert RUN.teacher.serve is not None
    for model in (RUN.teacher.serve.model, RUN.student.model):
        assert PurePosixPath(model).parent == PurePosixPath("/app/models")


def test_the_head_writes_the_runs_on_their_claim() -> None:
    runs = mounts(PODS["head"])[RUN.runs_dir]
    assert runs["source"]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert "readOnly" not in runs
    assert PODS["head"]["securityContext"]["fsGroup"] == PODS["head"]["securityContext"]["runAsUser"]


def test_each_image_is_one_of_ours_and_used_for_its_role() -> None:
    assert set(references(DOCUMENTS, "image")) == IMAGES
    assert container(PODS["teacher"])["image"] == "adaswitch-teacher:latest"
    assert container(PODS["head"])["image"] == "adaswitch-trainer:latest"
    assert container(PODS["students"])["image"] == "adaswitch-student:latest"


@every_pod
def test_no_pod_runs_as_root_or_can_become_it(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    security = container(pod)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


@every_pod
def test_pods_write_nowhere_but_into_volumes_that_go_with_them_and_to_runs(pod: dict[str, Any]) -> None:
    assert container(pod)["securityContext"]["readOnlyRootFilesystem"]
    writable = {path: m["source"] for path, m in mounts(pod).items() if not m.get("readOnly")}
    runs = writable.pop("/app/runs", None)
    assert (runs is not None) == (pod is PODS["head"])
    assert set(writable) == {"/tmp", "/dev/shm"}
    assert all("emptyDir" in source for source in writable.values())
    # The images' own home is /tmp.
    assert environment(pod).get("HOME", "/tmp") in writable


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")],
)
def test_probes_ask_routes_that_the_teacher_has_and_that_want_no_key(probe: str, path: str) -> None:
    asked = container(PODS["teacher"])[probe]["httpGet"]
    assert asked == {"path": path, "port": TEACHER_PORT["name"]}
    assert path in {getattr(route, "path", None) for route in router.routes}
    assert not path.startswith(PROTECTED_PREFIX)


def test_the_teacher_is_started_as_it_takes_it() -> None:
    given = vars(parse_arguments(container(PODS["teacher"])["args"]))
    mounted = mounts(PODS["teacher"])["/config"]["source"]["configMap"]["name"]
    assert (mounted, given["config"]) == (GENERATED["name"], "/config/run.yaml")
    served = load_config(DEPLOY / "run.yaml", given["overrides"]).teacher.serve
    assert served is not None
    assert (served.host, served.port, served.insecure) == ("0.0.0.0", TEACHER_PORT["containerPort"], False)
    assert TEACHER["spec"]["terminationGracePeriodSeconds"] > served.drain_timeout_s


def test_the_run_asks_the_teachers_service() -> None:
    service = find("Service", "teacher")
    [port] = service["spec"]["ports"]
    assert RUN.teacher.url == f"http://{service['metadata']['name']}:{port['port']}"
    assert port["targetPort"] == TEACHER_PORT["name"]


def test_everything_that_is_about_the_teacher_selects_its_pods() -> None:
    labels = TEACHER["metadata"]["labels"]
    assert selects(find("Service", "teacher")["spec"]["selector"], labels)
    assert selects(find("Deployment", "teacher")["spec"]["selector"]["matchLabels"], labels)
    assert selects(find("PodDisruptionBudget", "teacher")["spec"]["selector"]["matchLabels"], labels)
    assert selects(find("NetworkPolicy", "teacher")["spec"]["podSelector"]["matchLabels"], labels)
    replicas = find("Deployment", "teacher")["spec"]["replicas"]
    assert find("PodDisruptionBudget", "teacher")["spec"]["minAvailable"] < replicas


def test_the_teacher_is_reached_from_the_ray_pods_alone() -> None:
    [rule] = find("NetworkPolicy", "teacher")["spec"]["ingress"]
    # KubeRay gives every pod of a cluster this label.
    ray_pods = {"podSelector": {"matchLabels": {"ray.io/cluster": CLUSTER["metadata"]["name"]}}}
    assert rule == {"from": [ray_pods], "ports": [{"port": TEACHER_PORT["name"]}]}


def test_the_dashboard_is_reached_from_the_namespace_and_by_the_operator() -> None:
    policy = find("NetworkPolicy", "ray-dashboard")["spec"]
    assert policy["podSelector"]["matchLabels"]["ray.io/node-type"] == "head"
    [rule] = policy["ingress"]
    [namespace, operator] = rule["from"]
    assert namespace == {"podSelector": {}}
    assert operator["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "kuberay-operator"}
    dashboard = {p["name"]: p["containerPort"] for p in container(PODS["head"])["ports"]}["dashboard"]
    assert rule["ports"] == [{"port": dashboard}]


def test_the_cluster_has_the_version_of_ray_that_was_tested() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"ray=={CLUSTER['spec']['rayVersion']}" in pins


def test_students_find_their_place_on_the_workers_and_not_on_the_head() -> None:
    assert HEAD_GROUP["rayStartParams"]["num-cpus"] == "0"
    assert WORKER_GROUP["minReplicas"] <= WORKER_GROUP["replicas"] <= WORKER_GROUP["maxReplicas"]
    limits = container(PODS["students"])["resources"]["limits"]
    gpus = WORKER_GROUP["replicas"] * limits["nvidia.com/gpu"]
    cpus = WORKER_GROUP["replicas"] * int(limits["cpu"]) - JOBS["students"]["entrypointNumCpus"]
    assert RUN.student.num_actors * RUN.student.num_gpus_per_actor <= gpus
    assert RUN.student.num_actors * reserved_cpus(RUN.student.num_threads) <= cpus


@every_pod
def test_every_pod_has_a_gpu(pod: dict[str, Any]) -> None:
    assert container(pod)["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_job_that_is_stopped_has_time_to_end_well() -> None:
    for pod in (PODS["head"], PODS["students"]):
        assert int(environment(pod)["RAY_JOB_STOP_WAIT_TIME_S"]) == 60


@every_job
def test_a_job_is_handed_in_on_our_cluster_as_kuberay_takes_it(job: dict[str, Any]) -> None:
    assert job["clusterSelector"] == {"ray.io/cluster": CLUSTER["metadata"]["name"]}
    # A submitter pod would have to outlive the job.
    assert job["submissionMode"] == "HTTPMode"
    # With a given cluster KubeRay refuses retries, and a cluster that others use must outlive the job.
    assert (job["backoffLimit"], job["shutdownAfterJobFinishes"]) == (0, False)


@every_job
def test_a_jobs_entrypoint_is_a_program_of_ours(job: dict[str, Any]) -> None:
    python, dash_m, module, *arguments = shlex.split(job["entrypoint"])
    assert (python, dash_m) == ("python", "-m")
    assert find_spec(f"{module}.__main__") is not None
    assert arguments in ([], ["--config", "/config/run.yaml"])


def test_the_trainer_runs_on_the_head_with_the_runs_settings() -> None:
    assert JOBS["train"]["entrypoint"].startswith("python -m trainer ")
    assert not {"entrypointNumCpus", "entrypointNumGpus", "entrypointResources"} & set(JOBS["train"])
    assert mounts(PODS["head"])["/config"]["source"]["configMap"]["name"] == GENERATED["name"]


def test_the_run_is_the_one_in_configs_but_for_its_place() -> None:
    base = load_config(ROOT / "configs" / "gsm8k-qwen2.5.yaml")
    assert (RUN.name, RUN.task, RUN.policy, RUN.trainer) == (base.name, base.task, base.policy, base.trainer)


def test_the_variant_with_ranks_adds_nodes_that_no_student_lands_on() -> None:
    ranks = DEPLOY / "ranks"
    variant = yaml.safe_load((ranks / "kustomization.yaml").read_text(encoding="utf-8"))
    assert variant["resources"] == [".."]
    assert (ranks / variant["patches"][0]["path"]).is_file()
    [addition] = yaml.safe_load((ranks / "raycluster.yaml").read_text(encoding="utf-8"))
    assert (addition["op"], addition["path"]) == ("add", "/spec/workerGroupSpecs/-")
    group = addition["value"]
    assert group["replicas"] == group["maxReplicas"] == 2
    assert group["rayStartParams"]["num-cpus"] == "0"
    assert json.loads(json.loads(group["rayStartParams"]["resources"])) == {"rank": 1}
    pod = group["template"]["spec"]
    usual = find("RayCluster", "adaswitch")["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert pod["securityContext"].items() >= usual["securityContext"].items()
    [container], [other] = pod["containers"], usual["containers"]
    assert container["image"] == "adaswitch-trainer:latest"
    assert container["securityContext"] == other["securityContext"]
    assert {mount["name"] for mount in container["volumeMounts"]} <= {
        volume["name"] for volume in pod["volumes"]
    }
    entrypoint = " ".join((DEPLOY / "README.md").read_text(encoding="utf-8").split())
    assert (
        'trainer.num_ranks=2 trainer.eval_by=students "trainer.rank_resources={rank: 1, GPU: 1}"'
        in entrypoint
    )
