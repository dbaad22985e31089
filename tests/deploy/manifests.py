"""What can be told of deploy/ without running anything: that the files are what their formats ask for, and that they
agree with each other and with the program's sources.

The Compose file is read by the Compose Specification's own loader, the Kubernetes files are held against the schemas
that Kubernetes publishes, strictly: a name that nobody knows is a fault.
"""

import ipaddress
import json
import pathlib
import re
import subprocess
import tomllib

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
# The oldest that deploy/kubernetes says it is for, and the newest whose schemas are there.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
NODES = ["latchkey-1", "latchkey-2"]
USER = 10001
# Variables that hold no secret. Everything else is to be a file.
PLAIN = {"PGPASSFILE", "PGDATA", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}
MADE = {"master.key", "pgpass", "database-password"}  # by deploy/secrets.sh


def drain():
    """Seconds that requests under way have to finish."""
    return int(re.search(r"drain: Duration::from_secs\((\d+)\)", (ROOT / "src/http/server.rs").read_text())[1])


def seconds(text):
    return sum(int(count) * {"s": 1, "m": 60, "h": 3600}[unit] for count, unit in re.findall(r"(\d+)([smh])", text))


def port(address):
    return int(address.rsplit(":", 1)[1])


def image():
    """The image runs as a user who is not root, from a stage of its own, and copies what is there."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    last = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM")) :]
    assert f"USER {USER}" in last, f"Dockerfile: the last stage does not run as {USER}"
    assert any(f"--uid {USER} " in line for line in last), f"Dockerfile: it makes no user {USER}"
    copied = [line.split()[1:] for line in last if line.startswith("COPY")]
    assert copied == [["--from=build", "/build/target/release/latchkey", "/usr/local/bin/latchkey"]], copied
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
    is_wanted = any(line.startswith(f"FROM rust:{wanted}-") for line in lines)
    assert is_wanted, f"Dockerfile: it builds by another Rust than {wanted}"
    return f"Dockerfile: one program, as user {USER}, built by Rust {wanted}"


class Compose:
    """compose.yaml, as its loader understands it."""

    def __init__(self, loader):
        done = subprocess.run([loader, COMPOSE / "compose.yaml"], text=True, capture_output=True)
        assert done.returncode == 0, f"compose.yaml: {done.stderr}"
        self.project = json.loads(done.stdout)
        self.services = self.project["services"]
        self.nodes = [self.services[name] for name in NODES]
        self.environment = self.nodes[0].get("environment") or {}
        self.toml = (COMPOSE / "latchkey.toml").read_text()
        self.settings = tomllib.loads(self.toml)
        self.balancer = (COMPOSE / "haproxy.cfg").read_text()

    def file_of(self, kind, service, target):
        """The file that a service finds at a path."""
        found = [given["source"] for given in service.get(kind, []) if given["target"] == target]
        assert found, f"nothing is mounted at {target}"
        return pathlib.Path(self.project[kind][found[0]]["file"])

    def check(self):
        for secret in self.project["secrets"].values():
            name = pathlib.Path(secret["file"]).name
            assert name in MADE | {"certificate.pem"}, f"nothing makes the secret {name}"
        for name, service in self.services.items():
            unknown = set(service.get("environment") or {}) - PLAIN
            assert not unknown, f"{name}: {unknown} may be secrets, and are in the environment"
        for node in self.nodes:
            self.node(node)
        self.network()
        self.postgres()
        return f"compose.yaml: {len(self.services)} services, by the Compose Specification's loader"

    def node(self, node):
        config = node["command"][node["command"].index("--config") + 1]
        assert self.file_of("configs", node, config) == COMPOSE / "latchkey.toml"
        server, keys = self.settings["server"], self.settings["keys"]
        assert self.file_of("secrets", node, keys["master_key_file"]).name == "master.key"
        assert self.file_of("secrets", node, self.environment["PGPASSFILE"]).name == "pgpass"
        assert node["environment"] == self.environment, "the nodes differ"
        assert any(volume["target"] == keys["directory"] for volume in node["volumes"]), keys["directory"]
        assert node["read_only"] and node["cap_drop"] == ["ALL"], "a node may do more than it must"
        assert "ports" not in node, "a node is reached past the balancer"
        assert seconds(node["stop_grace_period"]) > drain(), "requests under way are cut off"
        probe = node["healthcheck"]["test"][-1]
        assert f"/dev/tcp/127.0.0.1/{port(server['listen'])}\n" in probe, "the probe asks another port"
        assert "GET /health/ready " in probe, "the probe asks something else"

    def network(self):
        server = self.settings["server"]
        own = {name: service["networks"]["inside"]["ipv4_address"] for name, service in self.services.items()}
        subnet = ipaddress.ip_network(self.project["networks"]["inside"]["ipam"]["config"][0]["subnet"])
        assert all(ipaddress.ip_address(address) in subnet for address in own.values()), own
        assert len(set(own.values())) == len(own), own
        assert server["trusted_proxies"] == [own["balancer"]], "another than the balancer is trusted"
        servers = re.findall(r"^ +server (\S+) (\S+):(\d+)$", self.balancer, re.M)
        expected = [(name, name, str(port(server["listen"]))) for name in NODES]
        assert servers == expected * 2, f"the balancer's servers are {servers}"
        assert re.findall(r"httpchk GET (\S+)", self.balancer) == ["/health/ready", "/health/live"]
        bound = {int(found) for found in re.findall(r"^ +bind :(\d+)", self.balancer, re.M)}
        assert bound == {published["target"] for published in self.services["balancer"]["ports"]}, bound
        certificate = re.search(r"ssl crt (\S+)", self.balancer)[1]
        assert self.file_of("secrets", self.services["balancer"], certificate).name == "certificate.pem"

    def postgres(self):
        named = self.services["postgres"]["environment"]
        expected = f"postgres://{named['POSTGRES_USER']}@postgres/{named['POSTGRES_DB']}"
        assert self.settings["database"]["url"] == expected, f"the database is {expected}"
        password = self.file_of("secrets", self.services["postgres"], named["POSTGRES_PASSWORD_FILE"])
        assert password.name == "database-password"


class Kubernetes:
    """The objects of deploy/kubernetes, by kind and name."""

    def __init__(self):
        self.objects = {}
        for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
            for document in yaml.safe_load_all(file.read_text()):
                self.judge(file.name, document)
                key = document["kind"], document["metadata"]["name"]
                assert key not in self.objects, f"{key} is there twice"
                self.objects[key] = document
        self.spec = self.objects["Deployment", "latchkey"]["spec"]
        self.pod = self.spec["template"]["spec"]
        self.node = self.pod["containers"][0]
        self.environment = {given["name"]: given["value"] for given in self.node["env"]}
        self.toml = self.objects["ConfigMap", "latchkey"]["data"]["latchkey.toml"]
        self.settings = tomllib.loads(self.toml)

    def judge(self, file, document):
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError as fault:
                raise AssertionError(f"{file}: {fault.message}") from None
            except kubernetes_validate.ValidationError as fault:
                place = ".".join(str(step) for step in fault.path)
                name = f"{document['kind']} {document['metadata']['name']}"
                raise AssertionError(f"{file}: {name}: {place}: {fault.message} (Kubernetes {version})") from None

    def check(self):
        for (kind, name), found in self.objects.items():
            assert kind == "Namespace" or found["metadata"]["namespace"] == "latchkey", f"{kind} {name}"
        self.ports()
        self.probes()
        self.mounts()
        self.confined()
        self.selected()
        return f"{len(self.objects)} Kubernetes objects, by the strict schemas of {' and '.join(VERSIONS)}"

    def ports(self):
        server = self.settings["server"]
        named = {given["name"]: given["containerPort"] for given in self.node["ports"]}
        assert named == {"public": port(server["listen"]), "admin": port(server["admin_listen"])}, named
        public = self.objects["Service", "latchkey"]["spec"]["ports"]
        assert [given["targetPort"] for given in public] == ["public"], "the public Service reaches more than users may"
        admin = self.objects["Service", "latchkey-admin"]["spec"]["ports"]
        assert [given["targetPort"] for given in admin] == ["admin"], admin
        rule = self.objects["Ingress", "latchkey"]["spec"]["rules"][0]
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "latchkey", "port": {"name": public[0]["name"]}}, backend
        assert f"https://{rule['host']}" == server["issuer"], "the Ingress is for another host"
        for rule in self.objects["NetworkPolicy", "latchkey"]["spec"]["ingress"]:
            for given in rule["ports"]:
                assert given["port"] == "public" or rule.get("from"), "the policy lets everyone at the admin API"

    def probes(self):
        asked = {name: self.node[f"{name}Probe"]["httpGet"]["path"] for name in ["startup", "readiness", "liveness"]}
        expected = {"startup": "/health/live", "readiness": "/health/ready", "liveness": "/health/live"}
        assert asked == expected, asked
        pause = self.node["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert self.pod["terminationGracePeriodSeconds"] > pause + drain(), "requests under way are cut off"
        assert self.spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0 and self.spec["replicas"] > 1

    def mounts(self):
        places = {mount["mountPath"]: mount["name"] for mount in self.node["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        assert set(places.values()) <= set(volumes), places
        keys = self.settings["keys"]
        secret = volumes[places[str(pathlib.Path(keys["master_key_file"]).parent)]]["secret"]
        kept = {item["path"] for item in secret["items"]}
        assert kept == {"master.key", "pgpass"} and kept <= MADE, kept
        config = pathlib.Path(self.node["args"][self.node["args"].index("--config") + 1])
        assert volumes[places[str(config.parent)]]["configMap"]["name"] == "latchkey" and config.name == "latchkey.toml"
        assert "emptyDir" in volumes[places[keys["directory"]]], f"{keys['directory']} cannot be written"
        copied = self.pod["initContainers"][0]["command"][-1]
        assert self.environment == {"PGPASSFILE": copied}, self.environment
        stand_in = self.objects["StatefulSet", "postgres"]["spec"]["template"]["spec"]["containers"][0]
        named = {given["name"]: given["value"] for given in stand_in["env"]}
        assert set(named) <= PLAIN, named
        assert pathlib.Path(named["POSTGRES_PASSWORD_FILE"]).name in MADE
        expected = f"postgres://{named['POSTGRES_USER']}@postgres/{named['POSTGRES_DB']}"
        assert self.settings["database"]["url"] == expected, f"the database is {expected}"

    def confined(self):
        for kind, name in [("Deployment", "latchkey"), ("StatefulSet", "postgres")]:
            pod = self.objects[kind, name]["spec"]["template"]["spec"]
            whole = pod["securityContext"]
            assert whole["runAsNonRoot"] and whole["runAsUser"] > 0 and "seccompProfile" in whole, name
            assert kind != "Deployment" or whole["runAsUser"] == USER, f"the image's user is {USER}"
            for container in pod["containers"] + pod.get("initContainers", []):
                own = container["securityContext"]
                about = f"{name}: {container['name']}"
                assert own["readOnlyRootFilesystem"], f"{about} can write to its own file system"
                assert not own["allowPrivilegeEscalation"], f"{about} may gain rights"
                assert own["capabilities"] == {"drop": ["ALL"]}, f"{about} may do more than it must"
                assert {"cpu", "memory"} <= set(container["resources"]["limits"]), f"{about} has no limits"

    def selected(self):
        for kind, name in self.objects:
            spec = self.objects[kind, name].get("spec", {})
            labels = spec.get("selector") if kind == "Service" else spec.get("selector", {}).get("matchLabels")
            if kind == "NetworkPolicy":
                labels = spec["podSelector"]["matchLabels"]
            if labels:
                wanted = "Deployment" if "latchkey" in name else "StatefulSet"
                found = self.objects[wanted, name.removesuffix("-admin")]["spec"]["template"]["metadata"]["labels"]
                assert labels == found, f"{kind} {name} selects other pods"
