#!/usr/bin/env python3
"""deploy/, as far as it can be tried without containers.

The files are judged by the loader of the Compose Specification and by the schemas of Kubernetes, and held against
each other and the sources (manifests.py). Then what they configure is run: a PostgreSQL that asks for a password, two
nodes that start on it at once, with the configuration of either and the secrets that deploy/secrets.sh makes, and the
balancer in front. Only addresses and folders are others than in the files.

`--tools` is where ./check has built the loader; `--pg-bindir` and `--pg-user` are PostgreSQL's programs and the user they
run as; `--haproxy` is the balancer. What is not there is left out, and said in a line that begins with SKIP.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import manifests
from service import ISSUER, USER, Balancer, Postgres, Service, free_port, run, until

PASSWORD = "down-the-rabbit-hole"
ADMIN = {"grant_type": "client_credentials", "scope": "admin"}


def make_secrets(folder):
    """By the script, which makes each file for its owner alone, and replaces none."""
    script = manifests.DEPLOY / "secrets.sh"
    run([script, folder])
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(made) == manifests.MADE | {".gitignore"}, set(made)
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir()), "others can read a secret"
    assert subprocess.run([script, folder], capture_output=True).returncode == 1, "it runs twice"
    assert made == {file.name: file.read_text() for file in folder.iterdir()}, "a secret was replaced"


def of_compose(binary, compose, folder, made):
    keys = compose.settings["keys"]
    places = {str(pathlib.PurePath(keys["master_key_file"]).parent): made, keys["directory"]: folder / "state"}
    return Service(binary, folder, compose.toml, places, compose.environment)


def of_kubernetes(binary, kubernetes, folder, made):
    """With the password file that the init container leaves."""
    keys, pod = kubernetes.settings["keys"], kubernetes.pod["initContainers"][0]
    source, target = (pathlib.PurePath(path) for path in pod["command"][-2:])
    places = {str(source.parent): made, str(target.parent): folder / "pgpass", keys["directory"]: folder / "state"}
    (folder / "pgpass").mkdir()
    service = Service(binary, folder, kubernetes.toml, places, kubernetes.environment)
    run([service.moved(part) for part in pod["command"]])
    return service


def try_out(service, postgres):
    """Two nodes that start at once on a database without a table are one service."""
    postgres.fresh()
    service.start(postgres)
    key_sets = {public.ask("/.well-known/jwks.json") for public in service.public}
    assert len(key_sets) == 1, f"two nodes, two key sets: {key_sets}"
    for public in service.public:
        assert public.ask("/health/live")[0] == 200
        assert public.told("/.well-known/openid-configuration")["issuer"] == ISSUER
        assert public.ask("/admin/v1/keys")[0] == 404, "the public listener serves the admin API"
        assert public.ask("/metrics")[0] == 404, "the public listener serves the metrics"
    # One of them has drawn the administrator's secret, which is good at both; and so are tokens.
    left = (service.folder / "state/admin.secret").read_text().strip()
    bearer = administer(service, left)
    for admin in service.admin:
        assert admin.ask("/metrics")[0] == 200, "the admin listener has no metrics"
    client = {"client_id": "web", "client_name": "web", "grant_types": ["password", "refresh_token"], "scope": "read"}
    secret = service.admin[0].told("/admin/v1/clients", body=client, bearer=bearer)["client_secret"]
    service.admin[0].told("/admin/v1/users", body={"username": "alice", "password": PASSWORD}, bearer=bearer)
    service.client = ("web", secret)
    tokens = login(service.public[0], service)
    renewal = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    service.public[1].told("/oauth2/token", form=renewal, client=service.client)
    recover(service, left)


def administer(service, secret):
    """A token for the administrator's secret, which every admin listener takes."""
    tokens = service.public[0].told("/oauth2/token", form=ADMIN, client=("latchkey-admin", secret))
    service.bearer = tokens["access_token"]
    for admin in service.admin:
        assert admin.ask("/admin/v1/keys", bearer=service.bearer)[0] == 200, "the admin listener has no admin API"
    return service.bearer


def recover(service, lost):
    """The administrator's secret is replaced while the nodes run. The lost one ends at all of them, and its tokens."""
    found = service.command("admin", "recover").strip()
    client = ("latchkey-admin", lost)
    for public, admin in zip(service.public, service.admin):
        until("refused", lambda: public.ask("/oauth2/token", form=ADMIN, client=client)[0] == 401, 5)  # noqa: B023
        until("dead", lambda: admin.ask("/admin/v1/keys", bearer=service.bearer)[0] == 401, 5)  # noqa: B023
    administer(service, found)


def login(site, service, **headers):
    form = {"grant_type": "password", "username": "alice", "password": PASSWORD}
    return site.told("/oauth2/token", form=form, client=service.client, **headers)


def probe(compose, service):
    """The health check of compose.yaml, which is a program within the container."""
    test = compose.nodes[0]["healthcheck"]["test"][1:]
    asked = [part.replace("/8420", f"/{service.public[0].port}") for part in test]
    run(asked)
    nobody = [part.replace("/8420", f"/{free_port()}") for part in test]
    nothing = [part.replace("/ready", "/x") for part in asked]
    for wrong in nobody, nothing:
        assert subprocess.run(wrong, capture_output=True).returncode != 0, "the health check takes anything"


def lose(service, postgres, balancer):
    """Lies, a node and the database, told and lost behind the balancer."""
    site = balancer.secure
    assert balancer.plain.ask("/health/ready")[0] == 301
    login(site, service, Forwarded="for=198.51.100.7", X_Forwarded_For="198.51.100.8")
    trail = service.admin[0].told("/admin/v1/audit?limit=50", bearer=service.bearer)
    addresses = {str(entry.get("address")) for entry in trail["items"]}
    lies = {address for address in addresses if address.startswith("198.51.")}
    assert USER in addresses and not lies, f"the trail has {addresses}"
    began = time.monotonic()
    service.nodes[0].process.terminate()
    for _ in range(50):
        assert site.ask("/.well-known/jwks.json")[0] == 200, "a request is lost with a node"
    service.nodes[0].stop()
    assert time.monotonic() - began < manifests.drain() + 5, "a node takes longer to stop than it may"
    postgres.stop()
    until("unready", lambda: service.public[1].ask("/health/ready")[0] == 503)
    assert service.public[1].ask("/health/live")[0] == 200, "a node would be restarted for its database"
    # For longer than the balancer takes to notice that no node is ready.
    noticed = time.monotonic() + 4
    while time.monotonic() < noticed:
        assert site.ask("/.well-known/jwks.json")[0] == 200, "without a database there is no key set"
        time.sleep(0.1)
    postgres.start()
    until("ready again", lambda: site.ask("/health/ready")[0] == 200)
    login(site, service)


def read_by_program(binary, folder, given):
    """The configuration as it stands there, by the program that is to read it."""
    file = folder / "latchkey.toml"
    file.write_text(given.toml)
    run([binary, "config", "check", "--config", file], env=given.environment)


def attempt(options, folder):
    print(manifests.image(), flush=True)
    kubernetes, compose = manifests.Kubernetes(), None
    read_by_program(options.binary, folder, kubernetes)
    print(kubernetes.check(), flush=True)
    if (loader := options.tools / "compose/load").exists():
        compose = manifests.Compose(loader)
        read_by_program(options.binary, folder, compose)
        print(compose.check(), flush=True)
    else:
        print("SKIP compose.yaml: no Go to build its loader with")
    make_secrets(made := folder / "secrets")
    services = {"kubernetes": of_kubernetes, "compose": of_compose}
    if not options.pg_bindir:
        print("SKIP two nodes: no PostgreSQL")
        return
    postgres = Postgres(options.pg_bindir, options.pg_user, made)
    # The server is elsewhere than a container finds it.
    line = (made / "pgpass").read_text()
    (made / "pgpass").write_text(line.replace("postgres:5432:", f"127.0.0.1:{postgres.port}:"))
    try:
        for name, given in {"kubernetes": kubernetes, "compose": compose}.items():
            if given:
                (folder / name / "state").mkdir(parents=True)
                service = services[name](options.binary, given, folder / name, made)
                follow(name, service, postgres, given, options)
    finally:
        postgres.remove()


def follow(name, service, postgres, given, options):
    try:
        try_out(service, postgres)
        print(f"{name}: two nodes are one service, with the password of a file; a lost secret is replaced", flush=True)
        if name != "compose":
            return
        probe(given, service)
        if not options.haproxy:
            print("SKIP haproxy.cfg: no HAProxy")
            return
        balancer = Balancer(options.haproxy, given.balancer, service.folder, service)
        try:
            lose(service, postgres, balancer)
        finally:
            balancer.program.stop()
        print("haproxy.cfg: TLS, no address by hearsay; a node lost, and the database, and found again", flush=True)
    finally:
        service.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--tools", type=pathlib.Path, required=True)
    parser.add_argument("--pg-bindir", type=pathlib.Path)
    parser.add_argument("--pg-user", default="")
    parser.add_argument("--haproxy", type=pathlib.Path)
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="latchkey-deploy-"))
    try:
        attempt(options, folder)
    except AssertionError as fault:
        print(f"FAILED: {fault}", file=sys.stderr)
        print(f"the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
