#!/usr/bin/env python3
"""Runs examples/services/ against a Latchkey, each as it stands there.

Every service is to take good tokens and refuse bad ones with the right status, to notice nothing of a rotation, and to
say clearly what a revocation and an outage of Latchkey come to. The bad tokens are signed by a key that Latchkey
publishes (it was imported), so that nothing but the service's own checks can refuse them. The libraries run with
their own caches: a new key is published for as long as the most patient of them (30 s) waits to fetch again.

`--tools` is where ./check has installed and built them.
"""

import argparse
import base64
import filecmp
import hmac
import http.client
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

from p256 import Key, b64

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples/services"
AUDIENCE, ELSEWHERE = "https://api.example.com", "https://other.example.com"
SECRET = "a-secret-of-at-least-32-characters-for-tests"
USER = {"username": "alice", "password": "down-the-rabbit-hole"}
LEEWAY = 30  # seconds, in every example
PUBLICATION = 31  # seconds a key is published before it signs, and one of margin


def services(tools):
    """Each service: where it runs, its command (it gets PORT too), and what is special about it."""

    def django(name):
        return EXAMPLES / name, lambda port: [
            tools / name / "venv/bin/python", "service.py", "runserver", "--noreload", f"127.0.0.1:{port}",
        ]  # fmt: skip

    def fastapi(port):
        return [tools / "fastapi/venv/bin/uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port)]

    def spring(port):
        return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-jar", tools / "spring/service.jar"]

    def built(path):
        return lambda port: [tools / path]

    introspection = {"CLIENT_ID": "api", "CLIENT_SECRET": SECRET}
    return {
        "fastapi": (EXAMPLES / "fastapi", fastapi, {}),
        "fastapi+introspection": (EXAMPLES / "fastapi", fastapi, introspection),
        "django-rest-framework": (*django("django-rest-framework"), {}),
        "django-simplejwt": (*django("django-simplejwt"), {}),
        "django-simplejwt RS256": (*django("django-simplejwt"), {"ALGORITHM": "RS256"}),
        "express": (tools / "express", lambda port: ["node", "server.mjs"], {}),
        "go": (tools, built("go/service"), {}),
        "spring": (tools, spring, {}),
        "spring+introspection": (tools, spring, introspection | {"SPRING_PROFILES_ACTIVE": "introspection"}),
        "rust-axum": (tools, built("rust/debug/service-axum"), {}),
        "rust-poem": (tools, built("rust/debug/service-poem"), {}),
    }


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LATCHKEY_", "SPRING_"))}
    return kept | {"no_proxy": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"} | more


class Process:
    """A program that listens on a loopback port of its own."""

    def start(self, command, folder, log, port, env):
        self.port, self.log = port, log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def wait_until(self, path, status):
        give_up = time.monotonic() + 90
        while True:
            try:
                if self.request("GET", path)[0] == status:
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < give_up, f"not ready within 90 s:\n{self.tail()}"
            time.sleep(0.1)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Latchkey(Process):
    def __init__(self, binary, folder):
        folder.mkdir()
        port = free_port()
        self.issuer, self.admin_secret = f"http://127.0.0.1:{port}", secrets.token_urlsafe(36)
        self.bearer = None
        web = {
            "client_secret": SECRET,
            "grant_types": ["password", "refresh_token"],
            "scope": "read write",
            "audience": [AUDIENCE],
        }
        clients = [
            web | {"client_id": "web"},
            web | {"client_id": "web-rs", "access_token_signed_response_alg": "RS256"},
            web | {"client_id": "hurried", "lifetimes": {"access_ttl": "2s"}},
            web | {"client_id": "elsewhere", "audience": [ELSEWHERE]},
            web | {"client_id": "elsewhere-rs", "audience": [ELSEWHERE], "access_token_signed_response_alg": "RS256"},
            # Both audiences, so that it is told of the tokens that its services have to refuse.
            {"client_id": "api", "client_secret": SECRET, "resource_identifiers": [AUDIENCE, ELSEWHERE]},
        ]
        bootstrap = folder / "bootstrap.json"
        bootstrap.write_text(json.dumps({"clients": clients, "users": [USER]}))
        bootstrap.chmod(0o600)
        settings = {
            "SERVER__LISTEN": f"127.0.0.1:{port}",
            "BOOTSTRAP__ADMIN_SECRET": self.admin_secret,
            "BOOTSTRAP__FILE": str(bootstrap),
            "KEYS__MIN_PUBLICATION": f"{PUBLICATION}s",
            "KEYS__PUBLICATION_MARGIN": "1s",
            "KEYS__JWKS_MAX_AGE": "1s",
        }
        env = environment(**{f"LATCHKEY__{key}": value for key, value in settings.items()})
        self.start([binary, "serve"], folder, folder / "log", port, env)
        self.wait_until("/health/ready", 200)

    def good(self, method, path, body=None, headers=None):
        status, _, text = self.request(method, path, body, headers)
        assert status in (200, 201, 202), f"{method} {path}: {status} {text.decode()}"
        return json.loads(text) if text else None

    def form(self, path, client, secret, **members):
        pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
        return self.good("POST", path, urllib.parse.urlencode(members), headers)

    def admin(self, method, path, body=None):
        if self.bearer is None:
            grant = {"grant_type": "client_credentials", "scope": "admin"}
            self.bearer = self.form("/oauth2/token", "latchkey-admin", self.admin_secret, **grant)["access_token"]
        headers = {"Authorization": f"Bearer {self.bearer}", "Content-Type": "application/json"}
        return self.good(method, f"/admin/v1{path}", json.dumps(body) if body else None, headers)

    def login(self, client="web", **more):
        return self.form("/oauth2/token", client, SECRET, grant_type="password", **USER, **more)

    def tokens(self):
        """A good token of each algorithm."""
        found = {"ES256": self.login("web")["access_token"], "RS256": self.login("web-rs")["access_token"]}
        assert [read(token)[0]["alg"] for token in found.values()] == list(found)
        return found

    def active(self):
        keys = self.admin("GET", "/keys")["items"]
        return {key["alg"]: key["kid"] for key in keys if key["state"] == "active"}

    def rotate(self, **how):
        """Asks for a rotation of both algorithms and waits until it has happened."""
        before = self.active()
        for alg in before:
            self.admin("POST", "/keys/rotate", {"alg": alg, **how})
        give_up = time.monotonic() + 2 * PUBLICATION
        while any(before[alg] == kid for alg, kid in self.active().items()):
            assert time.monotonic() < give_up, "a rotation was not carried out"
            time.sleep(0.2)


class Service(Process):
    def __init__(self, name, spec, latchkey, folder):
        self.name, self.faults = name, []
        self.refused, self.accepted = set(), set()
        where, command, special = spec
        self.introspects = "CLIENT_SECRET" in special
        # simplejwt takes a single algorithm.
        self.algorithms = [special.get("ALGORITHM", "ES256")] if "simplejwt" in name else ["ES256", "RS256"]
        port = free_port()
        env = environment(ISSUER=latchkey.issuer, AUDIENCE=AUDIENCE, PORT=str(port), **special)
        self.start(command(port), where, folder / f"{name.replace(' ', '-')}.log", port, env)

    def me(self, token=None, header=None):
        headers = {"Authorization": header or f"Bearer {token}"} if token or header else {}
        return self.request("GET", "/me", None, headers)

    def takes(self, case, token):
        if read(token)[0]["alg"] not in self.algorithms:
            return self.refuses(f"{case}, which it does not take", 401, token)
        status, _, body = self.me(token)
        claims = read(token)[1]
        try:
            answer = json.loads(body)
            same = answer["sub"] == claims["sub"] and set(answer["scope"].split()) == set(claims["scope"].split())
        except (ValueError, KeyError, TypeError, AttributeError):
            same = False
        if status == 200 and same:
            self.accepted.add(case)
        else:
            self.faults.append(f"{case}: {status} {body[:200]!r}, to be taken")

    def refuses(self, case, wanted, token=None, header=None):
        status, headers, body = self.me(token, header)
        challenge = headers.get("WWW-Authenticate", "")
        if status != wanted:
            self.faults.append(f"{case}: {status} {body[:200]!r}, not {wanted}")
        elif wanted == 401 and not challenge.startswith("Bearer"):
            self.faults.append(f"{case}: WWW-Authenticate is {challenge!r}")
        else:
            self.refused.add(case)


# --- tokens ----------------------------------------------------------------------------------------------


def read(token):
    return [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]]


def without(members, name):
    return {key: value for key, value in members.items() if key != name}


def part(members):
    return b64(json.dumps(members).encode())


def forge(key, header, claims):
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def imported(latchkey):
    """A key of ours that Latchkey signs with and publishes."""
    key = Key()
    latchkey.admin("POST", "/keys/import", {"pem": key.private_pem()})
    for _ in range(3):
        latchkey.admin("POST", "/keys/rotate", {"alg": "ES256", "mode": "now", "force": True})
        if latchkey.active()["ES256"] == key.thumbprint():
            return key, latchkey.login()["access_token"]
    raise AssertionError("the imported key does not become active")


def forged(key, token):
    """Good tokens and bad ones, each with a name, made of a real one."""
    header, claims = read(token)
    head, body, signature = token.split(".")
    hs256 = f"{part(header | {'alg': 'HS256'})}.{body}"
    good = {
        "of the imported key": forge(key, header, claims),
        "one audience of two": forge(key, header, claims | {"aud": [ELSEWHERE, AUDIENCE]}),
    }
    bad = {
        "another issuer": forge(key, header, claims | {"iss": "https://elsewhere.example.com"}),
        "no issuer": forge(key, header, without(claims, "iss")),
        "another audience": forge(key, header, claims | {"aud": ELSEWHERE}),
        "no audience": forge(key, header, without(claims, "aud")),
        "no expiry": forge(key, header, without(claims, "exp")),
        "expired for an hour": forge(key, header, claims | {"iat": claims["iat"] - 7200, "exp": claims["iat"] - 3600}),
        "typ JWT": forge(key, header | {"typ": "JWT"}, claims),
        "no typ": forge(key, without(header, "typ"), claims),
        "other claims": ".".join([head, part(claims | {"sub": "usr_mallory"}), signature]),
        "another key's signature": forge(Key(), header, claims),
        "no signature": ".".join([part(header | {"alg": "none"}), body, ""]),
        "HS256 under the public key": f"{hs256}.{b64(hmac.digest(key.public_pem().encode(), hs256.encode(), 'sha256'))}",
        "garbage": "not.a.token",
    }
    return good, bad


# --- the run ---------------------------------------------------------------------------------------------


def before(running, latchkey, good, sound, bad):
    missing = {
        "ES256": latchkey.login(scope="write")["access_token"],
        "RS256": latchkey.login("web-rs", scope="write")["access_token"],
    }
    bad = bad | {
        "ES256 for another audience": latchkey.login("elsewhere")["access_token"],
        "RS256 for another audience": latchkey.login("elsewhere-rs")["access_token"],
        "a refresh token": latchkey.login()["refresh_token"],
    }
    for service in running:
        for alg, token in (good | sound).items():
            service.takes(alg, token)
        for case, token in bad.items():
            service.refuses(case, 401, token)
        for alg in service.algorithms:
            service.refuses(f"{alg} without the scope", 403, missing[alg])
        service.refuses("no token", 401)
        service.refuses("Bearer and no token", 401, header="Bearer")
        service.refuses("Basic", 401, header="Basic YWxpY2U6c2VjcmV0")


def after(running, latchkey, good, sound, expired):
    """After the rotations: what is old and unexpired is still taken, and so is what is new."""
    new = latchkey.tokens()
    ended = {"ES256": latchkey.login("web"), "RS256": latchkey.login("web-rs")}
    stranger = Key()
    header, claims = read(new["ES256"])
    unknown = forge(stranger, header | {"kid": "nobody-published-this"}, claims)
    for service in running:
        for alg, token in new.items():
            service.takes(f"{alg} of the new key", token)
        for alg, token in (good | sound).items():
            service.takes(f"{alg} of the old key", token)
        service.refuses("expired", 401, expired)
        for alg in service.algorithms:
            service.takes(f"{alg}, to be revoked", ended[alg]["access_token"])
    for client, alg in (("web", "ES256"), ("web-rs", "RS256")):
        latchkey.form("/oauth2/revoke", client, SECRET, token=ended[alg]["refresh_token"])
    for service in running:
        for alg in service.algorithms:
            token = ended[alg]["access_token"]
            if service.introspects:
                service.refuses(f"{alg} of an ended session", 401, token)
            else:
                service.takes(f"{alg} of an ended session, until it expires", token)
        service.refuses("an unknown key", 401, unknown)  # last: libraries fetch no more for a while
        for alg, token in new.items():
            service.takes(f"{alg} after an unknown key", token)
    return new


def outage(running, new):
    for service in running:
        token = new[service.algorithms[0]]
        if not service.introspects:
            service.takes("a good token while Latchkey is down", token)
        elif not 500 <= (status := service.me(token)[0]) < 600:
            service.faults.append(f"a token that nobody vouches for: {status}, not 5xx")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/services")
    arguments.add_argument("--only", help="examples, separated by commas: what is before a + or a space in the names")
    args = arguments.parse_args()
    every = services(args.tools.resolve())
    examples = {name: name.split("+")[0].split(" ")[0] for name in every}
    on_disk = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert set(examples.values()) == on_disk, f"not run: {on_disk ^ set(examples.values())}"
    only = set(args.only.split(",")) if args.only is not None else on_disk
    assert only <= on_disk, f"--only takes {', '.join(sorted(on_disk))}"
    shared = [EXAMPLES / name / "src/latchkey.rs" for name in ("rust-axum", "rust-poem")]
    assert filecmp.cmp(*shared, shallow=False), "the two Rust examples verify with the same file"

    running, broken, started = [], {}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="latchkey-services.") as place:
        place = pathlib.Path(place)
        latchkey = Latchkey(args.binary.resolve(), place / "latchkey")
        try:
            key, token = imported(latchkey)
            sound, bad = forged(key, token)
            expired = latchkey.login("hurried")["access_token"]
            for name, spec in every.items():
                if examples[name] in only:
                    running.append(Service(name, spec, latchkey, place))
            for service in list(running):
                try:
                    service.wait_until("/me", 401)
                except AssertionError as error:
                    broken[service] = error
                    running.remove(service)
            print(f"{len(running)} services are up after {time.monotonic() - started:.0f} s", flush=True)
            good = latchkey.tokens()
            before(running, latchkey, good, sound, bad)
            print("rotating twice, to a key that was not there when they fetched", flush=True)
            seen = published(latchkey)
            # All have the first standby, ripe or not. Its successor none has: that one has to become ripe.
            latchkey.rotate(mode="now", force=True)
            latchkey.rotate(mode="planned")
            assert not seen & set(latchkey.active().values()), "the active keys are not new"
            time.sleep(max(0, read(expired)[1]["exp"] + LEEWAY + 1 - time.time()))
            new = after(running, latchkey, good, sound, expired)
            latchkey.stop()
            outage(running, new)
        except AssertionError:
            print(f"the end of Latchkey's log:\n{latchkey.tail()}", flush=True)
            raise
        finally:
            for process in [*running, *broken, latchkey]:
                process.stop()
        report(running, broken)
    print(f"took {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if broken or not running or any(service.faults for service in running) else 0)


def published(latchkey):
    return {key["kid"] for key in latchkey.good("GET", "/.well-known/jwks.json")["keys"]}


def report(running, broken):
    print(f"\n      {'service':<24}{'takes':>6}{'refuses':>9}  {'a revoked token':<18}without Latchkey")
    for service in running:
        revoked, down = ("refused at once", "5xx") if service.introspects else ("until it expires", "goes on")
        verdict, revoked, down = ("FAIL", "see below", "") if service.faults else ("ok", revoked, down)
        print(
            f"{verdict:<6}{service.name:<24}{len(service.accepted):>6}{len(service.refused):>9}  {revoked:<18}{down}"
        )
    for service in running:
        for fault in service.faults:
            print(f"      {service.name}: {fault}")
        if service.faults:
            print("\n".join(f"      | {line}" for line in service.tail().splitlines()[-8:]))
    for service, error in broken.items():
        print(f"FAIL  {service.name}: {error}")


if __name__ == "__main__":
    main()
