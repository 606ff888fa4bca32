"""The files in deploy/: valid by the official schemas, and in agreement with the service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from functools import cache
from importlib import resources
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from django.conf import settings
from django.http.request import validate_host
from django.urls import resolve
from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]

from models_api.configuration.file import ConfigurationFile
from tests.end_to_end.nginx import CONFIGURATION, PAGE, nginx_program, rendered
from tests.end_to_end.server import REPOSITORY
from tests.test_docs import blocks, environment_variables

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BINARIES = Path(sys.executable).parent
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
"""Of Kubernetes: the oldest that the manifests are for, and the newest whose schemas are known."""
PORT = 8000
GRACEFUL_SECONDS = 30
GRANIAN_IDLE_SECONDS = 30
"""Default of granian's --http1-header-read-timeout, which is that of idle connections, too."""
COMMON_IDLE_SECONDS = 60
"""Idle timeout of load balancers, such as those of AWS."""
USER = 65532
OPERATORS = "monitoring.coreos.com/v1"
"""Version of the kinds that the Prometheus operator brings."""


def run(*command: str) -> str:
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@cache
def manifests(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply --kustomize` would send."""
    text = run(str(BINARIES / "kubectl"), "kustomize", str(KUBERNETES / folder))
    return list(yaml.safe_load_all(text))


def manifest(folder: str, kind: str, name: str = "modelhost") -> dict[str, Any]:
    (found,) = (
        each
        for each in manifests(folder)
        if each["kind"] == kind and re.fullmatch(rf"{name}(-\w{{10}})?", each["metadata"]["name"])
    )
    return found


def pod(folder: str) -> dict[str, Any]:
    return manifest(folder, "Deployment")["spec"]["template"]


@cache
def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def pod_spec(name: str) -> dict[str, Any]:
    """Specification of a pod; KServe's keys for pods stand among its own."""
    if name == "kserve":
        return read("kserve/inference_service.yaml")["spec"]["predictor"]
    return pod(name)["spec"]


PODS = ["base", "example", "kserve"]


# The images


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.example"])
def test_hadolint_has_nothing_to_say(name: str) -> None:
    run(str(BINARIES / "hadolint"), str(DEPLOY / name))


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.example"])
def test_an_image_leaves_root_before_it_ends(name: str) -> None:
    users = re.findall(r"^USER (\S+)$", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert users[-1] == f"{USER}:{USER}"


def test_the_context_holds_what_the_dockerfile_copies_and_no_more() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE)
              for word in line.split()[:-1]]  # fmt: skip
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert re.findall(r"^!(.+)$", ignore, re.MULTILINE) == copied
    assert all((REPOSITORY / name).exists() for name in copied)


# Compose


def test_the_compose_file_fits_the_compose_specification() -> None:
    schema = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.validate(read("compose.yaml"), json.loads(schema.read_text(encoding="utf-8")))


def test_what_the_compose_file_names_is_there() -> None:
    services = read("compose.yaml")["services"]
    builds = [service["build"] for service in services.values() if "build" in service]
    contexts = [build["context"] for build in builds]
    dockerfiles = [f"{build['context']}/{build['dockerfile']}" for build in builds]
    mounts = [
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert len(mounts) == 4
    for path in [*contexts, *dockerfiles, *mounts]:
        assert (DEPLOY / path).exists(), path
    for name in read("prometheus/prometheus.yaml")["rule_files"]:
        assert (DEPLOY / "prometheus" / name).exists(), name


def test_an_image_of_the_compose_file_is_built_after_the_one_that_it_is_built_on() -> None:
    services = read("compose.yaml")["services"]
    build = services["modelhost-1"]["build"]
    below = based_on(build)
    assert build["additional_contexts"] == {below: f"service:{below}"}
    # Without it Compose forgets the service if it is to start another one alone.
    assert services["modelhost-1"]["depends_on"] == {
        below: {"condition": "service_completed_successfully"}
    }
    assert services[below]["command"] == ["true"]
    assert "restart" not in services[below]
    assert based_on(services[below]["build"]).startswith("python:")


def test_every_image_of_the_compose_file_is_built_here_or_is_one_that_can_be_pulled() -> None:
    services = read("compose.yaml")["services"]
    built = {service["image"] for service in services.values() if "build" in service}
    assert built == {"modelhost:0.1.0", "rent:1.0.0"}
    pulled = {service["image"].partition(":")[0] for service in services.values()} - {
        image.partition(":")[0] for image in built
    }
    assert pulled == {"nginx", "prom/prometheus", "grafana/grafana"}


def based_on(build: dict[str, Any]) -> str:
    """What the last stage of a Dockerfile is from, as the compose file builds it."""
    with TemporaryFile() as copy:
        copy.write((DEPLOY / build["context"] / build["dockerfile"]).read_bytes())
        parser = DockerfileParser(fileobj=copy, build_args=build.get("args", {}))
        return str(parser.baseimage)


INSTANCES = ["modelhost-1", "modelhost-2"]


@pytest.mark.parametrize("name", [*INSTANCES, "proxy"])
def test_the_service_and_the_proxy_of_the_compose_file_have_no_rights(name: str) -> None:
    service = read("compose.yaml")["services"][name]
    assert service["user"] == f"{USER}:{USER}"
    assert service["read_only"] is True
    assert [each.partition(":")[0] for each in service["tmpfs"]] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_of_the_compose_file_has_time_to_drain(name: str) -> None:
    service = read("compose.yaml")["services"][name]
    assert int(service["stop_grace_period"].removesuffix("s")) > GRACEFUL_SECONDS


def test_every_port_of_the_compose_file_is_for_this_machine_alone() -> None:
    services = read("compose.yaml")["services"]
    ports = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert set(ports) == {"proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for [port] in ports.values())


def test_prometheus_and_grafana_find_what_they_ask() -> None:
    [scraped] = read("prometheus/prometheus.yaml")["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"{name}:{PORT}" for name in INSTANCES]}]
    [source] = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
    asked = dashboard["templating"]["list"][0]
    assert (asked["type"], asked["query"]) == ("datasource", source["type"])
    alerts = (DEPLOY / "prometheus/alerts.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r'job="(\w+)"', alerts)) == {scraped["job_name"]}


# The proxy


def directives(name: str) -> list[str]:
    """The values that nginx's configuration gives to a directive, wherever it stands."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    return re.findall(rf"^ *{name} (.+);$", text, re.MULTILINE)


def seconds(name: str) -> list[int]:
    return [int(value.removesuffix("s")) for value in directives(name)]


def test_nginx_has_nothing_to_say_against_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(rendered(tmp_path, PORT, [1, 2]), encoding="utf-8")
    command = [nginx_program(), "-t", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.findall(r"\[(?:warn|error|emerg)\]", done.stderr), done.stderr


def test_nginx_is_in_front_of_the_instances_of_the_compose_file() -> None:
    assert directives("server") == [f"{name}:{PORT} max_fails=0" for name in INSTANCES]
    services = read("compose.yaml")["services"]
    assert {name for name in services if name.startswith("modelhost")} == set(INSTANCES)
    [published] = services["proxy"]["ports"]
    assert directives("listen") == [published.rpartition(":")[2]]
    [mount] = services["proxy"]["volumes"]
    assert mount == f"./{CONFIGURATION.relative_to(DEPLOY)}:/etc/nginx/nginx.conf:ro"


def test_nginx_writes_only_where_its_container_can() -> None:
    paths = [path for name in ("pid", r"\w+_temp_path") for path in directives(name)]
    assert len(paths) == 6
    assert all(path.startswith("/tmp/") for path in paths)


def test_nginx_keeps_to_the_limits_and_times_of_the_service() -> None:
    assert directives("client_max_body_size") == [str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)]
    [read_timeout] = seconds("proxy_read_timeout")
    assert read_timeout > (settings.MODELS_API_HUNG_PREDICTION_SECONDS or 0) > 0
    assert read_timeout > seconds("proxy_next_upstream_timeout")[0]
    idle_to_service, idle_to_clients = seconds("keepalive_timeout")
    # Its import would have effects.
    text = (REPOSITORY / "modelhost/gunicorn_conf.py").read_text(encoding="utf-8")
    [gunicorn_idle] = re.findall(r"^keepalive = (\d+)$", text, re.MULTILINE)
    assert idle_to_service < GRANIAN_IDLE_SECONDS < int(gunicorn_idle)
    assert idle_to_clients > COMMON_IDLE_SECONDS


# systemd


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    [unit] = [block for block in blocks(PAGE, "ini") if block.file.endswith(".service")]
    command = re.search(r"(?m)^ExecStart=(\S+) (.+)$", unit.text)
    assert command is not None
    assert command[1].endswith("/bin/modelhost")
    path = tmp_path / unit.file
    path.write_text(unit.text.replace(command[1], sys.executable), encoding="utf-8")
    if (program := shutil.which("systemd-analyze")) is not None:
        # What it does not know it only warns of.
        done = subprocess.run(
            [program, "verify", "--man=no", str(path)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
    service = ConfigParser(strict=False, interpolation=None)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(path)
    assert service.sections() == ["Unit", "Service", "Install"]
    assert int(service["Service"]["TimeoutStopSec"]) > GRACEFUL_SECONDS
    assert command[2] == "serve --host 127.0.0.1 --port %i"


# Kubernetes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ["base", "example"])
def test_the_manifests_fit_the_schemas_of_kubernetes(folder: str, version: str) -> None:
    known = [each for each in manifests(folder) if each["apiVersion"] != OPERATORS]
    added = ["ConfigMap", "Ingress", "NetworkPolicy"] if folder == "example" else []
    assert sorted(each["kind"] for each in known) == sorted([
        *added,
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ])  # fmt: skip
    for each in known:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_of_kubernetes_refuse_an_unknown_key() -> None:
    service = manifest("base", "Service")
    with pytest.raises(kubernetes_validate.ValidationError, match="'prots' was unexpected"):
        kubernetes_validate.validate(
            {**service, "spec": {**service["spec"], "prots": []}}, VERSIONS[0], strict=True
        )


@pytest.mark.long  # to import the models of all kinds takes seconds
@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_what_is_for_the_prometheus_operator_fits_its_schemas(kind: str) -> None:
    from cloudcoil.models.prometheus_operator import v1

    given = manifest("example", kind)
    read_back = getattr(v1, kind).model_validate(given)
    # What the schema does not know would be lost.
    assert read_back.model_dump(by_alias=True, exclude_unset=True, mode="json") == given


def test_the_rules_and_the_dashboard_of_a_cluster_are_those_of_the_compose_file() -> None:
    assert manifest("example", "PrometheusRule")["spec"] == read("prometheus/alerts.yaml")
    dashboard = manifest("example", "ConfigMap", "modelhost-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["dashboard.json"]) == read("grafana/dashboard.json")


@pytest.mark.parametrize("folder", ["base", "example"])
def test_every_selector_means_the_pods_of_the_deployment_and_no_others(folder: str) -> None:
    labels = pod(folder)["metadata"]["labels"]
    deployment = manifest(folder, "Deployment")["spec"]
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert [
        deployment["selector"]["matchLabels"],
        manifest(folder, "Service")["spec"]["selector"],
        manifest(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest(folder, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ] == [labels] * 5


def test_the_manifests_refer_to_each_other_by_their_names() -> None:
    deployment = manifest("example", "Deployment")
    target = manifest("example", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "modelhost"}
    assert deployment["metadata"]["name"] == target["name"]
    assert "replicas" not in deployment["spec"]  # or each `apply` would undo what the scaler did
    spec = deployment["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == manifest("example", "ServiceAccount")["metadata"]["name"]
    configuration = manifest("example", "ConfigMap")["metadata"]["name"]
    assert {"name": "configuration", "configMap": {"name": configuration}} in spec["volumes"]
    [port] = spec["containers"][0]["ports"]
    [exposed] = manifest("example", "Service")["spec"]["ports"]
    [rule] = manifest("example", "NetworkPolicy")["spec"]["ingress"]
    [allowed] = rule["ports"]
    assert exposed["targetPort"] == allowed["port"] == port["name"]
    monitor = manifest("example", "ServiceMonitor")["spec"]
    assert monitor["endpoints"][0]["port"] == exposed["name"]
    labels = manifest("example", "Service")["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_the_manifests_serve_the_image_of_the_example_team() -> None:
    [container] = pod("example")["spec"]["containers"]
    [kserve] = read("kserve/inference_service.yaml")["spec"]["predictor"]["containers"]
    assert container["image"] == kserve["image"] == "registry.example.com/rent:1.0.0"


# An ingress


def ingress_leads_to_the_service(path: str) -> bool:
    """By the rules for paths: https://kubernetes.io/docs/concepts/services-networking/ingress/"""
    [rule] = manifest("example", "Ingress")["spec"]["rules"]
    return any(
        path == each["path"]
        or (each["pathType"] == "Prefix" and path.startswith(f"{each['path']}/"))
        for each in rule["http"]["paths"]
    )


def test_the_ingress_leads_to_every_route_but_the_metrics() -> None:
    golden = REPOSITORY / "tests/golden/openapi.yaml"
    documented = yaml.safe_load(golden.read_text(encoding="utf-8"))["paths"]
    assets = "/docs/assets/modelhost/pages.css"
    for path in (*documented, "/", "/docs", assets, "/redoc", "/openapi.json", "/openapi.yaml"):
        assert ingress_leads_to_the_service(path), path
    for path in ("/v2", "/v2/models/iris/infer", "/v2/health/ready"):
        assert ingress_leads_to_the_service(path), path
    for path in ("/metrics", "/apis", "/nowhere"):
        assert not ingress_leads_to_the_service(path), path


def test_the_ingress_leads_to_the_pods_and_may_come_to_them() -> None:
    [rule] = manifest("example", "Ingress")["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    service = manifest("example", "Service")
    [port] = service["spec"]["ports"]
    name = service["metadata"]["name"]
    assert all(each == {"name": name, "port": {"name": port["name"]}} for each in backends)
    policy = manifest("example", "NetworkPolicy", "modelhost-ingress")["spec"]
    assert policy["podSelector"]["matchLabels"] == pod("example")["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress"]
    [allowed] = policy["ingress"]
    assert allowed["ports"] == [{"port": port["targetPort"]}]
    [namespace] = allowed["from"]
    # Kubernetes itself puts this label on every namespace.
    assert set(namespace["namespaceSelector"]["matchLabels"]) == {"kubernetes.io/metadata.name"}


def test_the_service_answers_to_the_name_of_its_ingress_and_believes_it_about_tls() -> None:
    ingress = manifest("example", "Ingress")["spec"]
    [host] = [rule["host"] for rule in ingress["rules"]]
    assert [host] == ingress["tls"][0]["hosts"]
    [container] = pod("example")["spec"]["containers"]
    given = variables(container)
    assert given["MODELHOST_TRUST_PROXY_TLS"] == "1"
    assert ip_network(given["MODELHOST_TRUSTED_PROXIES"]).is_private
    allowed = given["MODELHOST_ALLOWED_HOSTS"].split(",")
    namespace = manifest("example", "Deployment")["metadata"]["namespace"]
    within = [f"modelhost{end}" for end in ("", f".{namespace}", f".{namespace}.svc")]
    for name in (host, *within, f"{within[-1]}.cluster.local"):
        assert validate_host(name, allowed), name
    assert not validate_host("evil.example.com", allowed)


@pytest.mark.parametrize("name", PODS)
def test_a_variable_refers_only_to_those_before_it(name: str) -> None:
    """The kubelet leaves the others as they stand."""
    [container] = pod_spec(name)["containers"]
    known: set[str] = set()
    for each in container["env"]:
        assert set(re.findall(r"\$\((\w+)\)", each.get("value", ""))) <= known
        known.add(each["name"])


def test_the_ingress_keeps_to_the_limits_and_times_of_nginx() -> None:
    annotations = manifest("example", "Ingress")["metadata"]["annotations"]
    assert len(annotations) == 7
    for key, value in annotations.items():
        owner, _, name = key.partition("/")
        assert owner == "nginx.org"
        if name == "max-fails":
            assert all(f"max_fails={value}" in server for server in directives("server"))
        else:
            assert directives(name.replace("-", "_")) == [value]


# Pods, KServe's too


@pytest.mark.parametrize("name", PODS)
def test_a_pod_keeps_to_the_restricted_profile(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = pod_spec(name)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(volume) <= {"name", "configMap", "emptyDir"} for volume in spec["volumes"])


@pytest.mark.parametrize("name", PODS)
def test_a_pod_can_write_to_tmp_and_nowhere_else(name: str) -> None:
    spec = pod_spec(name)
    [container] = spec["containers"]
    writable = [each for each in container["volumeMounts"] if not each.get("readOnly")]
    assert writable == [{"name": "tmp", "mountPath": "/tmp"}]
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}} in spec["volumes"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_limits(name: str) -> None:
    """Without one of processors, gunicorn would start a worker for each that the node has."""
    spec = pod_spec(name)
    resources = spec["containers"][0]["resources"]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_time_to_drain(name: str) -> None:
    spec = pod_spec(name)
    [container] = spec["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container["readinessProbe"]
    graceful = int(variables(container)["MODELHOST_GRACEFUL_TIMEOUT_SECONDS"])
    assert pause >= readiness["periodSeconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + graceful + 5


@pytest.mark.parametrize("name", PODS)
def test_a_pod_listens_where_it_is_asked(name: str) -> None:
    spec = pod_spec(name)
    [container] = spec["containers"]
    [port] = container["ports"]
    assert port["containerPort"] == PORT
    assert variables(container)["MODELHOST_BIND"] == f"0.0.0.0:{PORT}"
    for probe in probes(container):
        assert probe["httpGet"]["port"] in (PORT, port["name"])


@pytest.mark.parametrize("name", PODS)
def test_a_pod_knows_no_variables_of_other_services(name: str) -> None:
    """Kubernetes would call them MODELHOST_SERVICE_HOST, MODELHOST_PORT and so on."""
    spec = pod_spec(name)
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("folder", ["base", "example"])
def test_each_probe_asks_a_route_of_the_service(folder: str) -> None:
    [container] = pod(folder)["spec"]["containers"]
    assert [probe["httpGet"]["path"] for probe in probes(container)] == [
        "/api/health/startup",
        "/api/health/ready",
        "/api/health/startup",
    ]
    for probe in probes(container):
        resolve(probe["httpGet"]["path"])  # raises Resolver404 where there is none


def probes(container: dict[str, Any]) -> list[dict[str, Any]]:
    return [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize(
    ("pod", "called", "other"),
    [("base", "modelhost", "modelhost.other"), ("kserve", "rent-predictor", "evil.example")],
)
def test_the_service_answers_by_every_name_that_it_has_in_its_cluster(
    pod: str, called: str, other: str
) -> None:
    [container] = pod_spec(pod)["containers"]
    names = [each["name"] for each in container["env"]]
    # The kubelet puts in what was named before.
    assert names.index("NAMESPACE") < names.index("MODELHOST_ALLOWED_HOSTS")
    allowed = variables(container)["MODELHOST_ALLOWED_HOSTS"].replace("$(NAMESPACE)", "shop")
    for name in (
        called,
        f"{called}.shop",
        f"{called}.shop.svc",
        f"{called}.shop.svc.cluster.local",
    ):
        assert validate_host(name, allowed.split(","))
    assert not validate_host(other, allowed.split(","))


# KServe

# Keys of a predictor that are KServe's own, as far as the manifest has them:
# https://kserve.github.io/website/docs/reference/crd-api#componentextensionspec
KSERVE_KEYS: dict[str, type] = {
    "minReplicas": int,
    "maxReplicas": int,
    "scaleMetric": str,
    "scaleTarget": int,
    "timeout": int,
}


def test_the_inference_service_is_of_the_kind_that_kserve_knows() -> None:
    service = read("kserve/inference_service.yaml")
    assert set(service) == {"apiVersion", "kind", "metadata", "spec"}
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["kind"] == "InferenceService"
    assert set(service["spec"]) == {"predictor"}
    predictor = service["spec"]["predictor"]
    for key, type_ in KSERVE_KEYS.items():
        assert type(predictor[key]) is type_, key
    [container] = predictor["containers"]
    assert container["name"] == "kserve-container"  # by which KServe finds it
    assert variables(container)["PROTOCOL"] == "v2"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_predictor_is_a_pod_by_the_schemas_of_kubernetes(version: str) -> None:
    predictor = read("kserve/inference_service.yaml")["spec"]["predictor"]
    spec = {key: value for key, value in predictor.items() if key not in KSERVE_KEYS}
    metadata = {"name": "rent"}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubernetes_validate.validate(whole, version, strict=True)


# KubeRay


@cache
def kuberay(kind: str, name: str = "models") -> dict[str, Any]:
    text = run(str(BINARIES / "kubectl"), "kustomize", str(DEPLOY / "kuberay"))
    (found,) = (
        each
        for each in yaml.safe_load_all(text)
        if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return dict(found)


def ray_pods() -> dict[str, dict[str, Any]]:
    """Specifications of the pods of the cluster."""
    cluster = kuberay("RayService")["spec"]["rayClusterConfig"]
    groups = {"head": cluster["headGroupSpec"]} | {
        group["groupName"]: group for group in cluster["workerGroupSpecs"]
    }
    return {name: group["template"]["spec"] for name, group in groups.items()}


def test_the_ray_service_has_the_keys_that_kuberay_knows() -> None:
    service = kuberay("RayService")
    assert service["apiVersion"] == "ray.io/v1"
    assert set(service["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    cluster = service["spec"]["rayClusterConfig"]
    known = {"rayVersion", "gcsFaultToleranceOptions", "headGroupSpec", "workerGroupSpecs"}
    assert set(cluster) == known
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    assert all(
        set(group) == {"groupName", "replicas", "rayStartParams", "template"}
        for group in cluster["workerGroupSpecs"]
    )
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(type(value) is str for group in groups for value in group["rayStartParams"].values())


def test_the_head_survives_by_a_redis_that_is_there() -> None:
    cluster = kuberay("RayService")["spec"]["rayClusterConfig"]
    host, port = cluster["gcsFaultToleranceOptions"]["redisAddress"].split(":")
    [service_port] = kuberay("Service", host)["spec"]["ports"]
    [container] = kuberay("Deployment", host)["spec"]["template"]["spec"]["containers"]
    assert service_port["port"] == container["ports"][0]["containerPort"] == int(port)
    assert (
        kuberay("Service", host)["spec"]["selector"]
        == (kuberay("Deployment", host)["spec"]["template"]["metadata"]["labels"])
    )


def test_what_kuberay_deploys_is_what_the_command_writes() -> None:
    done = subprocess.run(
        [str(BINARIES / "modelhost"), "ray_config"],
        cwd=DEPLOY / "example",
        env={"PATH": str(BINARIES), "PYTHONDONTWRITEBYTECODE": "1"},  # the folder is an image's
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    deployed = yaml.safe_load(kuberay("RayService")["spec"]["serveConfigV2"])
    assert deployed == yaml.safe_load(done.stdout)


def test_the_pods_of_ray_have_the_ports_and_the_ray_that_the_manifest_speaks_of() -> None:
    serve = yaml.safe_load(kuberay("RayService")["spec"]["serveConfigV2"])["http_options"]["port"]
    wanted = (REPOSITORY / "requirements" / "ray.txt").read_text(encoding="utf-8")
    version = kuberay("RayService")["spec"]["rayClusterConfig"]["rayVersion"]
    assert f"ray[serve]>={version.rpartition('.')[0]}" in wanted
    for spec in ray_pods().values():
        [container] = spec["containers"]
        assert {"name": "serve", "containerPort": serve} in container["ports"]
        assert variables(container)["RAY_SERVE_ENABLE_HA_PROXY"] == "1"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pods_of_ray_are_pods_and_the_rest_is_what_kubernetes_knows(version: str) -> None:
    for name, spec in ray_pods().items():
        metadata = {"name": name}
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        kubernetes_validate.validate(whole, version, strict=True)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for kind, name in (
        ("Deployment", "redis"),
        ("Service", "redis"),
        ("NetworkPolicy", "redis"),
        ("NetworkPolicy", "models"),
    ):
        kubernetes_validate.validate(kuberay(kind, name), version, strict=True)


def test_only_the_service_in_front_and_the_operator_reach_a_cluster_of_ray() -> None:
    policy = kuberay("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    own = policy["podSelector"]["matchLabels"]
    front = pod("base")["metadata"]["labels"]
    cluster, operator, service = policy["ingress"]
    assert cluster == {"from": [{"podSelector": {"matchLabels": own}}]}
    assert {each["port"] for each in operator["ports"]} == {8265, PORT}
    assert service["ports"] == [{"port": PORT, "protocol": "TCP"}]
    [peer] = service["from"]
    assert peer["podSelector"]["matchLabels"].items() <= front.items()


# What the files say to the service


CONFIGURATIONS = sorted(DEPLOY.rglob("rest_config.yaml"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.parent.name)
def test_the_configurations_have_no_problems(path: Path) -> None:
    assert list(map(str, ConfigurationFile(path).problems)) == []


def test_the_example_teams_configuration_is_the_same_everywhere() -> None:
    team = (DEPLOY / "example/rest_config.yaml").read_text(encoding="utf-8")
    assert manifest("example", "ConfigMap")["data"] == {"rest_config.yaml": team}


def test_the_service_reads_each_variable_that_the_files_set() -> None:
    known = set(environment_variables())
    named: set[str] = set()
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            named |= set(re.findall(r"\bMODELHOST_[A-Z_]*[A-Z]\b", text))
    assert named - {"MODELHOST_IMAGE"} <= known  # that one is an argument of a build
