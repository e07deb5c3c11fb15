"""What Kustomize builds: valid for Kubernetes, fit for the programs, and closed to whom it should be."""

import collections
import copy
import re
import subprocess

import grpc
import jsonschema
import kubernetes_validate
import pytest
import yaml
from conftest import COMPONENTS, OVERLAYS, PROGRAMS, ROOT, containers, kustomize, objects, one, servers, settings_of, workloads
from grpc_health.v1 import health_pb2, health_pb2_grpc

VERSION = kubernetes_validate.latest_version()
ALL = OVERLAYS + COMPONENTS
# What a ScaledObject of KEDA 2.17 may say, as far as it is said here: kubernetes-validate knows Kubernetes' own kinds only.
SCALED_OBJECT = yaml.safe_load("""
type: object
additionalProperties: false
required: [scaleTargetRef, triggers, minReplicaCount, maxReplicaCount, fallback]
properties:
  scaleTargetRef: {type: object, additionalProperties: false, required: [name], properties: {name: {type: string}}}
  pollingInterval: {type: integer, minimum: 1}
  minReplicaCount: {type: integer, minimum: 1}
  maxReplicaCount: {type: integer, minimum: 1}
  fallback:
    type: object
    additionalProperties: false
    required: [failureThreshold, replicas]
    properties:
      failureThreshold: {type: integer, minimum: 1}
      replicas: {type: integer, minimum: 1}
      behavior: {enum: [static, currentReplicas, currentReplicasIfHigher, currentReplicasIfLower]}
  advanced:
    type: object
    additionalProperties: false
    properties:
      horizontalPodAutoscalerConfig: {type: object, additionalProperties: false, properties: {behavior: {type: object}}}
  triggers:
    type: array
    minItems: 1
    items:
      type: object
      additionalProperties: false
      required: [type, name, metricType, metadata]
      properties:
        type: {const: prometheus}
        name: {type: string}
        # KEDA's fallback works with averages only.
        metricType: {const: AverageValue}
        metadata:
          type: object
          additionalProperties: false
          required: [serverAddress, query, threshold, ignoreNullValues]
          properties:
            serverAddress: {type: string, pattern: '^http'}
            query: {type: string}
            threshold: {type: string, pattern: '^[0-9.]+$'}
            ignoreNullValues: {const: "false"}
""")


def validate(manifest):
    """As `kubernetes-validate --strict` does, in this process: a property that is not known is a fault, and so is a kind."""
    kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("name", ALL)
def test_kubernetes_takes_it(name):
    for manifest in objects(name):
        if manifest["kind"] == "ScaledObject":
            jsonschema.validate(manifest["spec"], SCALED_OBJECT)
        else:
            validate(manifest)


def test_what_is_wrong_is_found():
    wrong = copy.deepcopy(one("dev", "Deployment", "intent-server"))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(wrong)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        validate(dict(one("cpu", "ScaledObject", "intent-server")))
    scaled = copy.deepcopy(one("cpu", "ScaledObject", "intent-server")["spec"])
    scaled["triggers"][0]["metadata"]["ignoreNullValues"] = "true"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, SCALED_OBJECT)


def test_the_rules_and_the_dashboard_are_in_the_config_maps():
    for folder, name, key in (("prometheus", "kefu-prometheus-rules", "alerts.yaml"), ("grafana", "kefu-dashboard", "kefu.json")):
        made = next(yaml.safe_load_all(kustomize(ROOT / "Deploy" / folder)))
        assert made["data"][key] == one("cpu", "ConfigMap", name)["data"][key] == (ROOT / "Deploy" / folder / key).read_text()


@pytest.fixture(scope="module")
def flags():
    """The flags of `serve` of each program, as its help lists them."""
    def listed(program):
        text = subprocess.run([servers.BIN / program, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        # Some variables have no flag, so that no password stands on a command line.
        variables = {name.lower().replace("_", "-") for name in re.findall(r"\bKEFU_([A-Z_]*PASSWORD)\b", text)}
        return set(re.findall(r"^  --([a-z-]+) <", text, re.MULTILINE)) | variables
    return {program: listed(program) for program in PROGRAMS}


@pytest.mark.parametrize("name", ALL)
def test_every_flag_variable_and_setting_is_known_to_its_program(name, flags):
    seen = set()
    for workload, container in containers(name):
        program = container["name"]
        if program not in flags:
            continue
        seen.add(program)
        used = {argument[2:] for argument in container["args"] if argument.startswith("--")}
        used |= {v["name"][5:].lower().replace("_", "-") for v in container["env"] if v["name"].startswith("KEFU_")}
        used |= set(settings_of(name, workload))
        assert used <= flags[program], f"{program} does not know {sorted(used - flags[program])}"
        assert {"listen", "settings", "http", "connection-age-ms", "grace-ms"} <= used
        assert container["args"][0] == "serve"
    assert seen == set(PROGRAMS)


def test_an_unknown_flag_would_be_found(flags):
    assert all({"listen", "settings", "grace-ms"} <= found and "no-such-flag" not in found for found in flags.values())


@pytest.mark.parametrize("name", ALL)
def test_no_secret_is_told(name):
    """Passwords come from a Secret, and stand on no command line and in no ConfigMap."""
    for _, container in containers(name):
        words = container.get("command", []) + container.get("args", [])
        assert not any(re.search(r"passw|requirepass|redis://", word, re.IGNORECASE) and "$" not in word for word in words), words
        for variable in container.get("env", []):
            if "PASSWORD" in variable["name"]:
                assert variable["valueFrom"]["secretKeyRef"]["key"] == "password"
    for config in (o for o in objects(name) if o["kind"] == "ConfigMap"):
        assert not re.search(r"^\s*requirepass (?!\$)|://[^ ]*:[^ ]*@", "\n".join(config["data"].values()), re.MULTILINE)
    if name != "dev":
        assert not [o for o in objects(name) if o["kind"] == "Secret"]


@pytest.mark.parametrize("name", ALL)
def test_pods_are_locked_down(name):
    """As the level `restricted` of the Pod Security Standards asks, and with a root file system that cannot be written to."""
    assert one(name, "Namespace", "kefu")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload, container in containers(name):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"] and {"cpu", "memory"} <= set(container["resources"]["requests"])


@pytest.mark.parametrize("name", ALL)
def test_images_are_pinned(name):
    for _, container in containers(name):
        tag = container["image"].rpartition(":")[2]
        assert ":" in container["image"] and tag != "latest", container["image"]


def version():
    return re.search(r'static let version = "(.*)"', (ROOT / "Sources/ServiceKit/Program.swift").read_text())[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_image_is_of_this_version(program):
    _, container = next((w, c) for w, c in containers("cpu") if c["name"] == program)
    assert container["image"] == f"kefu/{program}:{version()}"


@pytest.mark.parametrize("name", ALL)
def test_a_drain_fits_into_the_time_that_kubernetes_gives(name):
    for workload, container in containers(name):
        if container["name"] not in PROGRAMS:
            continue
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = settings_of(name, workload)["grace-ms"] / 1000
        # The programs give their services 5 s beyond the grace (Program.run).
        assert pause >= 5 and pause + grace + 5 < workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ALL)
def test_probes_differ_and_name_ports_of_the_container(name):
    for _, container in containers(name):
        probes = [container[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert len({str(sorted(probe.items())) for probe in probes}) == 3, container["name"]
        start, live, ready = ((p.get("failureThreshold", 3) * p["periodSeconds"]) for p in probes)
        assert start >= 30 and live >= 60, container["name"]
        if container["name"] in PROGRAMS:
            ports = {port["containerPort"] for port in container["ports"]}
            assert all(probe["grpc"]["port"] in ports for probe in probes) and ready <= 5
            assert int(container["args"][container["args"].index("--listen") + 1].rpartition(":")[2]) == probes[0]["grpc"]["port"]
            assert int(container["args"][container["args"].index("--http") + 1].rpartition(":")[2]) in ports


def test_the_servers_say_serving_to_every_probe(configured):
    """The programs with the manifests' own settings: every line was taken, and each service that a probe names is there."""
    asked = collections.Counter()
    for _, container in containers("cpu"):
        if container["name"] not in PROGRAMS:
            continue
        with grpc.insecure_channel(configured[container["name"]].address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                service = container[kind]["grpc"].get("service", "")
                answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
                asked[service] += 1
            with pytest.raises(grpc.RpcError):
                health.Check(health_pb2.HealthCheckRequest(service="kefu.nothing"), timeout=10)
    assert len(asked) == 3


def labels_match(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def pods(name):
    return {w["metadata"]["name"]: w["spec"]["template"] for w in workloads(name)}


@pytest.mark.parametrize("name", ALL)
def test_services_find_their_pods_and_are_headless(name):
    for service in (o for o in objects(name) if o["kind"] == "Service"):
        own = [p for p in pods(name).values() if labels_match(service["spec"]["selector"], p["metadata"]["labels"])]
        assert len(own) == 1 and service["spec"]["clusterIP"] == "None"
        ports = {port["name"]: port["containerPort"] for c in own[0]["spec"]["containers"] for port in c["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("name", ALL)
def test_addresses_are_those_of_services(name):
    found = {(o["metadata"]["name"], port["port"]) for o in objects(name) if o["kind"] == "Service" for port in o["spec"]["ports"]}
    orchestrator = one(name, "Deployment", "dialogue-orchestrator")
    environment = {v["name"]: v.get("value", "") for v in orchestrator["spec"]["template"]["spec"]["containers"][0]["env"]}
    settings = settings_of(name, orchestrator)
    told = [settings["understanding"], settings["redis"], environment.get("KEFU_CHITCHAT", "")]
    for address in filter(None, told):
        host, port = re.search(r"(?:dns:///|redis://)([^:/]+):(\d+)", address).groups()
        service, namespace, rest = host.removeprefix("redis-0.").split(".", 2)
        assert (service, int(port)) in found and namespace == "kefu" and rest == "svc.cluster.local", address
    # All the addresses of a name, in turn: gRPC's own resolver.
    assert told[0].startswith("dns:///")


def may_reach(name, source, target, port):
    """Whether the network policies let a pod of one workload reach a port of another's."""
    policies = [o["spec"] for o in objects(name) if o["kind"] == "NetworkPolicy"]
    labels = {n: p["metadata"]["labels"] for n, p in pods(name).items()}

    def allows(kind, own, other, side):
        bound = [p for p in policies if kind in p["policyTypes"] and labels_match(p["podSelector"].get("matchLabels", {}), labels[own])]
        assert bound, f"no policy for the {kind} of {own}"
        return any(
            "namespaceSelector" not in peer and labels_match(peer["podSelector"].get("matchLabels", {}), labels[other])
            and port in [p["port"] for p in rule["ports"]]
            for policy in bound for rule in policy.get(kind.lower(), []) for peer in rule.get(side, []))

    return allows("Egress", source, target, "to") and allows("Ingress", target, source, "from")


@pytest.mark.parametrize("name", ALL)
def test_who_may_talk_to_whom(name):
    expected = {("dialogue-orchestrator", "intent-server", 50051), ("dialogue-orchestrator", "redis", 6379)}
    if "chitchat" in pods(name):
        expected.add(("dialogue-orchestrator", "chitchat", 8500))
    ports = {port["containerPort"] for _, c in containers(name) for port in c["ports"]}
    reached = {(a, b, port) for a in pods(name) for b in pods(name) for port in ports if a != b and may_reach(name, a, b, port)}
    assert reached == expected


@pytest.mark.parametrize("name", ALL)
def test_budgets_and_spread(name):
    for workload in workloads(name):
        own = workload["spec"]["template"]["metadata"]["labels"]
        assert labels_match(workload["spec"]["selector"]["matchLabels"], own)
        budgets = [
            o for o in objects(name)
            if o["kind"] == "PodDisruptionBudget" and labels_match(o["spec"]["selector"]["matchLabels"], own)]
        assert len(budgets) == 1, workload["metadata"]["name"]
        if workload["metadata"]["name"] in PROGRAMS:
            spread = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert "kubernetes.io/hostname" in {s["topologyKey"] for s in spread}
            assert all(labels_match(s["labelSelector"]["matchLabels"], own) for s in spread)


@pytest.mark.parametrize("name", ALL)
def test_threads_are_those_that_the_container_may_use(name):
    pod = one(name, "Deployment", "intent-server")["spec"]["template"]["spec"]["containers"][0]
    threads = next(v for v in pod["env"] if v["name"] == "KEFU_THREADS")
    if name == "gpu-mps":
        assert threads == {"name": "KEFU_THREADS", "value": "1"}
    else:
        assert threads["valueFrom"]["resourceFieldRef"] == {"containerName": "intent-server", "resource": "limits.cpu", "divisor": "1"}
        assert pod["resources"]["limits"]["cpu"].isdigit(), "part of a core cannot be a number of threads"


def test_what_is_scaled_has_no_number_of_its_own():
    for name in ("cpu", "gpu-mps"):
        for scaled in (o["spec"] for o in objects(name) if o["kind"] == "ScaledObject"):
            assert "replicas" not in one(name, "Deployment", scaled["scaleTargetRef"]["name"])["spec"]
            assert scaled["minReplicaCount"] >= 2 <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]


def test_two_pods_share_a_card():
    """One intent server and one TensorFlow Serving: a share each, as many as the device plugin gives, of one user, with limits that fit."""
    plugin = yaml.safe_load((ROOT / "Deploy/kubernetes/overlays/gpu-mps/device-plugin.yaml").read_text())
    resource, = plugin["sharing"]["mps"]["resources"]
    sharing = [(w, c) for w, c in containers("gpu-mps") if "nvidia.com/gpu" in c["resources"]["limits"]]
    assert {c["name"] for _, c in sharing} == {"intent-server", "chitchat"} and resource == {"name": "nvidia.com/gpu", "replicas": len(sharing)}
    assert {c["resources"]["limits"]["nvidia.com/gpu"] for _, c in sharing} == {"1"}
    # An MPS server serves one user at a time.
    assert len({w["spec"]["template"]["spec"]["securityContext"]["runAsUser"] for w, _ in sharing}) == 1
    environments = [{v["name"]: v.get("value") for v in c["env"]} for _, c in sharing]
    assert sum(int(e["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]) for e in environments) <= 100
    assert all(re.fullmatch(r"0=\d+[GM]", e["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"]) for e in environments)
    intent = environments[[c["name"] for _, c in sharing].index("intent-server")]
    assert intent["KEFU_DEVICE"] == "cuda:0" and float(intent["KEFU_GPU_MEMORY_SHARE"]) < 1 / resource["replicas"]


def test_models_are_mounted_where_the_server_looks():
    for name in COMPONENTS:
        pod = one(name, "Deployment", "intent-server")["spec"]["template"]["spec"]
        mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "models")
        assert mount["mountPath"] == settings_of(name, one(name, "Deployment", "intent-server"))["models"] and mount["readOnly"]
        assert next(v for v in pod["volumes"] if v["name"] == "models")


def test_redis_starts_with_a_password_that_no_command_line_tells(tmp_path):
    """The real redis-server, by the manifests' own script and configuration; only its folders and its address are others."""
    volume = next(v for v in one("cpu", "StatefulSet", "redis")["spec"]["template"]["spec"]["volumes"] if v["name"] == "configuration")
    data = one("cpu", "ConfigMap", volume["configMap"]["name"])["data"]
    socket = tmp_path / "redis.sock"
    configuration = data["redis.conf"].replace("dir /data", f"dir {tmp_path}").replace("bind * -::*", f"port 0\nunixsocket {socket}")
    assert f"unixsocket {socket}" in configuration and f"dir {tmp_path}" in configuration
    (tmp_path / "redis.conf").write_text(configuration)
    (tmp_path / "start").write_text(data["start"].replace("/etc/redis", str(tmp_path)))
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["sh", tmp_path / "start"], env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True, timeout=20)
    process = subprocess.Popen(
        ["sh", tmp_path / "start"], env={"PATH": "/usr/bin:/bin", "REDIS_PASSWORD": "s3cret-word"}, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break

        def ask(*words, password=None):
            environment = {"PATH": "/usr/bin:/bin"} | ({"REDISCLI_AUTH": password} if password else {})
            return subprocess.run(["redis-cli", "-s", socket, *words], env=environment, capture_output=True, text=True, timeout=20).stdout

        assert "NOAUTH" in ask("PING")
        assert ask("PING", password="s3cret-word") == "PONG\n"
        for key, value in {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}.items():
            assert ask("CONFIG", "GET", key, password="s3cret-word") == f"{key}\n{value}\n"
        with open(f"/proc/{process.pid}/cmdline") as command:
            told = command.read()
        assert "redis-server" in told and "s3cret-word" not in told
        limit = int(ask("CONFIG", "GET", "maxmemory", password="s3cret-word").split()[1])
        memory = next(c for _, c in containers("cpu") if c["name"] == "redis")["resources"]["limits"]["memory"]
        assert memory == "1Gi" and limit < 0.7 * 2**30
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
