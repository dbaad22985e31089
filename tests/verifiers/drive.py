#!/usr/bin/env python3
"""Rotates keys under real verifiers and counts the valid tokens that they refuse.

Starts `latchkey serve` on a throw-away SQLite database, has it sign RS256 and ES256 access tokens
without pause, and hands each to every verifier in this folder, again and again until it expires, while
the keys rotate through the admin API. A single refusal of a valid token fails the run. So does a tampered
or an expired token that is accepted, or a key whose tokens a verifier never saw: the run has to mean something.

fast   publication and margin of one second each, 20 rotations. The two seconds stand for 40: every cache,
       cooldown and rate limit of the libraries is divided by 20.
long   every library as it comes. New keys are published for 40 seconds before they sign, and between the
       rounds pass the five minutes that keyfunc leaves between two fetches for unknown key ids.

A round is as hard as a verifier's caches can make it. A forged token with an unknown key id has the libraries
fetch the key set, which starts their cooldown; at once the algorithm is rotated, which publishes a key
that their set does not have; and at once it is rotated again, to that very key. A service that signs with it
before it is ripe is refused by those that are still cooling down.

`--self-test` hands the verifiers a token of a key that no key set names and demands that this run fails.
"""

import argparse
import base64
import http.client
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ALGORITHMS = ("ES256", "RS256")

# `ripe` is how long a key is published before it signs, `scale` what 40 s of that are divided by. Each round
# needs one fetch for an unknown key id of keyfunc, which leaves five minutes between two: so does `pace`.
MODES = {
    "fast": dict(
        scale=20, publication="1s", margin="1s", max_age="1s", ripe=2.0, ttl=30,
        pace=300 / 20 + 1.5, rounds=10, tick=0.25, wait=60,
    ),
    "long": dict(
        scale=1, publication="35s", margin="5s", max_age="30s", ripe=40.0, ttl=120,
        pace=305.0, rounds=2, tick=1.0, wait=180,
    ),
}  # fmt: skip


def commands(tools):
    """How each verifier is started, and where its installed files are expected."""
    return {
        "PyJWT": [tools / "python/venv/bin/python", HERE / "python/verify.py"],
        "jose": [shutil.which("node") or "node", tools / "node/verify.mjs"],
        "nimbus": [
            shutil.which("java") or "java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m",
            "-cp", f"{tools}/java/classes:{tools}/java/lib/*", "verify.Verify",
        ],
        "go-oidc": [tools / "go-oidc/verify"],
        "keyfunc": [tools / "go-keyfunc/verify"],
    }  # fmt: skip


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Token:
    def __init__(self, text):
        self.text = text
        header, claims, _ = text.split(".")
        header = json.loads(unb64(header))
        self.alg, self.kid = header["alg"], header["kid"]
        self.claims = json.loads(unb64(claims))
        self.expires = self.claims["exp"]

    def with_other_claims(self):
        header, _, signature = self.text.split(".")
        claims = dict(self.claims, exp=self.expires + 3600)
        return ".".join([header, b64(json.dumps(claims).encode()), signature])

    def with_other_signature(self):
        head, signature = self.text.rsplit(".", 1)
        raw = bytearray(unb64(signature))
        raw[len(raw) // 2] ^= 1
        return f"{head}.{b64(bytes(raw))}"

    def with_other_kid(self):
        _, claims, signature = self.text.split(".")
        header = {"alg": self.alg, "typ": "at+jwt", "kid": "nobody-published-this"}
        return ".".join([b64(json.dumps(header).encode()), claims, signature])


class Service:
    """One `latchkey serve` with a database, keys and clients of its own."""

    def __init__(self, binary, folder, settings, issuer=None):
        self.folder = folder
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.issuer = issuer or f"http://127.0.0.1:{self.port}"
        self.admin_secret = secrets.token_urlsafe(36)
        self.clients = {alg: (f"signs-{alg.lower()}", secrets.token_urlsafe(36)) for alg in ALGORITHMS}
        bootstrap = folder / "bootstrap.json"
        bootstrap.write_text(
            json.dumps(
                {
                    "clients": [
                        {
                            "client_id": client,
                            "client_secret": secret,
                            "client_name": f"Asks for {alg} tokens",
                            "grant_types": ["client_credentials"],
                            "scope": "read",
                            "token_endpoint_auth_method": "client_secret_basic",
                            "access_token_signed_response_alg": alg,
                        }
                        for alg, (client, secret) in self.clients.items()
                    ],
                    "users": [],
                }
            )
        )
        bootstrap.chmod(0o600)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LATCHKEY__")}
        environment |= {
            "LATCHKEY__SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "LATCHKEY__SERVER__ISSUER": self.issuer,
            "LATCHKEY__DATABASE__URL": f"sqlite://{folder}/latchkey.db",
            "LATCHKEY__KEYS__DIRECTORY": str(folder / "keys"),
            "LATCHKEY__KEYS__MIN_PUBLICATION": settings["publication"],
            "LATCHKEY__KEYS__PUBLICATION_MARGIN": settings["margin"],
            "LATCHKEY__KEYS__JWKS_MAX_AGE": settings["max_age"],
            "LATCHKEY__TOKENS__ACCESS_TTL": f"{settings['ttl']}s",
            "LATCHKEY__BOOTSTRAP__ADMIN_SECRET": self.admin_secret,
            "LATCHKEY__BOOTSTRAP__FILE": str(bootstrap),
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "serve"], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.bearer, self.bearer_until = None, 0

    def wait_until_ready(self):
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise RuntimeError(f"latchkey ended with {self.process.returncode} before it was ready")
            try:
                if self.call("GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError("latchkey was not ready within a minute")

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def grant(self, client, secret, **form):
        pair = ":".join(urllib.parse.quote_plus(part) for part in (client, secret))
        status, body = self.call(
            "POST",
            "/oauth2/token",
            urllib.parse.urlencode({"grant_type": "client_credentials", **form}),
            {
                "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        if status != 200:
            raise RuntimeError(f"no token for {client}: {status} {body.decode(errors='replace')}")
        return json.loads(body)

    def token(self, alg):
        token = Token(self.grant(*self.clients[alg])["access_token"])
        if token.alg != alg:
            raise RuntimeError(f"the client for {alg} got a token signed with {token.alg}")
        return token

    def admin(self, method, path, body=None):
        if time.time() > self.bearer_until:
            answer = self.grant("latchkey-admin", self.admin_secret, scope="admin")
            self.bearer = answer["access_token"]
            self.bearer_until = time.time() + answer["expires_in"] / 2
        headers = {"Authorization": f"Bearer {self.bearer}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        status, text = self.call(method, path, body, headers)
        if status not in (200, 202):
            raise RuntimeError(f"{method} {path}: {status} {text.decode(errors='replace')}")
        return status, json.loads(text)

    def keys(self):
        _, answer = self.admin("GET", "/admin/v1/keys")
        return answer["items"] if isinstance(answer, dict) else answer

    def key(self, alg, state):
        return next((k for k in self.keys() if k["alg"] == alg and k["state"] == state), None)

    def published(self):
        return {key["kid"] for key in json.loads(self.call("GET", "/.well-known/jwks.json")[1])["keys"]}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


class Verifier:
    def __init__(self, name, command, service, mode, scale, folder):
        self.name = name
        self.verified = 0
        self.again = 0  # of these: tokens it had verified before
        self.refused_bad = 0  # tampered and expired ones, rightly refused
        self.late = 0  # expired before the answer came: proves nothing
        self.failures = []  # everything that must not happen
        self.kids = set()
        self.fetches = None
        self.pending = {}
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.number = 0
        self.errors = folder / f"{name}.err"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [
                    *map(str, command),
                    *("--jwks", f"http://127.0.0.1:{service.port}/.well-known/jwks.json"),
                    *("--issuer", service.issuer, "--audience", service.issuer),
                    *("--mode", "fast" if mode == "fast" else "default", "--scale", str(scale)),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
            )  # fmt: skip
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def hand(self, token, text=None, expect="valid", why="", first=True):
        """Gives it a token. `text` is what it sees of it, where that was tampered with."""
        with self.lock:
            self.number += 1
            n = self.number
            self.pending[n] = (token, expect, why, first)
        try:
            with self.writing:
                self.process.stdin.write(json.dumps({"n": n, "token": text or token.text, "expect": expect}) + "\n")
                self.process.stdin.flush()
        except OSError:
            raise RuntimeError(f"{self.name} has died:\n{self.errors.read_text(errors='replace')[-2000:]}") from None
        return n

    def read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("done"):
                self.fetches = answer["fetches"]
                continue
            with self.lock:
                token, expect, why, first = self.pending.pop(answer["n"])
            self.judge(token, expect, why, first, answer)

    def judge(self, token, expect, why, first, answer):
        accepted, error = answer["ok"], answer.get("error", "")
        if expect == "valid":
            if accepted:
                self.verified += 1
                self.again += not first
                self.kids.add(token.kid)
            elif time.time() >= token.expires - 1:
                self.late += 1
            else:
                self.failures.append(f"refused a valid {token.alg} token of key {token.kid}: {error}")
                say(f"{self.name} {self.failures[-1]}")
        elif accepted:
            self.failures.append(f"accepted a token that is {why}")
            say(f"{self.name} {self.failures[-1]}")
        elif why == "expired" and "exp" not in error.lower():
            self.failures.append(f"refused an expired token for another reason: {error}")
            say(f"{self.name} {self.failures[-1]}")
        else:
            self.refused_bad += 1

    def finish(self):
        give_up = time.monotonic() + 30
        while self.pending and self.process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        try:
            self.process.stdin.close()
            self.process.wait(15)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.reader.join(5)
        if self.pending:
            self.failures.append(f"left {len(self.pending)} tokens without an answer")
        if self.process.returncode != 0:
            end = self.errors.read_text(errors="replace")[-500:].strip()
            self.failures.append(f"ended with {self.process.returncode}: {end}")


class Rotator(threading.Thread):
    """Rotates one algorithm after the other, twice each time."""

    def __init__(self, service, settings, rounds, verifiers):
        super().__init__(daemon=True)
        self.service, self.settings, self.rounds, self.verifiers = service, settings, rounds, verifiers
        self.done, self.faults, self.error = 0, [], None
        self.stop = threading.Event()

    def run(self):
        try:
            for number in range(self.rounds):
                if self.stop.wait(self.settings["pace"] if number else 1):
                    return
                self.round(ALGORITHMS[number % 2], "now" if number // 2 % 2 else "planned")
        except Exception as error:  # raised by the main thread
            self.error = error

    def round(self, alg, mode):
        self.spend_cooldowns(alg)
        asked = time.monotonic()
        self.rotate(alg, mode)
        self.rotate(alg, "planned")
        # The second key was not published before the first rotation was asked for.
        if not self.stop.is_set() and (took := time.monotonic() - asked) < self.settings["ripe"]:
            self.faults.append(f"latchkey signed with an {alg} key {took:.2f} s after its publication")

    def spend_cooldowns(self, alg):
        """Makes them fetch with forged tokens: once, and Nimbus twice, for that is what it allows at a time.

        Not keyfunc: its fetch for unknown key ids is spent for five minutes, which no publication time
        short of that makes good. The round needs it.
        """
        token = self.service.token(alg)
        handed = [
            (verifier, verifier.hand(token, token.with_other_kid(), "invalid", "of an unknown key"))
            for verifier in self.verifiers
            if verifier.name != "keyfunc"
            for _ in range(2)
        ]
        wait_for(lambda: not any(n in verifier.pending for verifier, n in handed), 30, "answers to forged tokens")

    def rotate(self, alg, mode):
        before = self.service.key(alg, "active")["kid"]
        # `now` refuses a standby that is not ripe, but at this pace it is. `planned` waits for it.
        body = {"alg": alg, "mode": mode, **({"force": False} if mode == "now" else {})}
        status, _ = self.service.admin("POST", "/admin/v1/keys/rotate", body)
        give_up = time.monotonic() + self.settings["wait"]
        while (after := self.service.key(alg, "active")) is None or after["kid"] == before:
            if time.monotonic() > give_up:
                raise RuntimeError(f"the {mode} rotation of {alg} ({status}) was not carried out")
            if self.stop.wait(0.1):
                return
        self.done += 1
        waited = ", waited for ripeness" if status == 202 else ""
        say(f"rotation {self.done}: {alg} {mode}{waited}, {before[:8]} -> {after['kid'][:8]}")


def drive(args, settings, folder):
    chosen = {name: command for name, command in commands(args.tools).items() if name in args.only}
    services, verifiers, rotator = [], [], None
    seen_kids = set()
    try:
        service = Service(args.binary, folder / "service", settings)
        services.append(service)
        service.wait_until_ready()
        stranger = None
        if args.fault:
            # Another installation that calls itself the same: its tokens are sound but for their key.
            stranger = Service(args.binary, folder / "stranger", settings, issuer=service.issuer)
            services.append(stranger)
            stranger.wait_until_ready()
        verifiers += [
            Verifier(name, command, service, args.mode, settings["scale"], folder) for name, command in chosen.items()
        ]
        # The first token makes each fetch the first key set, the Java machine has started, and time counts from here.
        for alg in ALGORITHMS:
            token = service.token(alg)
            for verifier in verifiers:
                verifier.hand(token)
        wait_for(lambda: all(not v.pending for v in verifiers), 60, "the verifiers' first answers")

        rounds = 0 if args.fault else -(-args.rotations // 2)  # two in a round
        rotator = Rotator(service, settings, rounds, verifiers)
        rotator.start()
        live, expired, tested_expired, tick = [], [], 0.0, 0
        after_last = None  # the last keys' tokens get a few seconds of their own
        while True:
            if rotator.error:
                raise rotator.error
            if not rotator.is_alive():
                after_last = after_last or time.monotonic() + 8 * settings["tick"] + 2
                if time.monotonic() > after_last:
                    break
            tick += 1
            started = time.monotonic()
            fresh = [service.token(alg) for alg in ALGORITHMS]
            now = time.time()
            expired += [t for t in live if t.expires - 4 <= now]
            live = [t for t in live if t.expires - 4 > now]
            # The oldest tokens are those of retiring keys; some others at random.
            again = live[:2] + random.sample(live, min(3, len(live)))
            for verifier in verifiers:
                for token in fresh:
                    verifier.hand(token)
                if len(verifier.pending) < 200:
                    for token in again:
                        verifier.hand(token, first=False)
            seen_kids |= {t.kid for t in fresh}
            live += fresh
            if stranger and tick == 4:
                for verifier in verifiers:
                    verifier.hand(stranger.token("ES256"), why="of an unknown key")
                    verifier.hand(stranger.token("RS256"), why="of an unknown key")
            if tick % 20 == 2:
                for token in fresh:
                    for verifier in verifiers:
                        verifier.hand(token, token.with_other_claims(), "invalid", "tampered with (claims)")
                        verifier.hand(token, token.with_other_signature(), "invalid", "tampered with (signature)")
            if time.monotonic() - tested_expired > 10 and expired:
                # Only while their key is published, so that it is `exp` that ends them, and no verifier
                # spends the fetch that it has for unknown keys on them.
                published = service.published()
                over = [t for t in expired if t.expires + 1.5 < time.time() and t.kid in published]
                for alg in ALGORITHMS:
                    for token in [t for t in over if t.alg == alg][-1:]:
                        tested_expired = time.monotonic()
                        for verifier in verifiers:
                            verifier.hand(token, expect="invalid", why="expired")
                expired = expired[-200:]
            time.sleep(max(0.0, settings["tick"] - (time.monotonic() - started)))
        # Last, for it makes each verifier fetch: a key id that nobody published.
        for token in fresh:
            for verifier in verifiers:
                verifier.hand(token, token.with_other_kid(), "invalid", "of an unknown key")
        for verifier in verifiers:
            verifier.finish()
    except Exception:
        for one in services:
            print(f"--- the end of the log of {one.folder.name}\n{one.tail()}", file=sys.stderr)
        raise
    finally:
        if rotator:
            rotator.stop.set()
        for verifier in verifiers:
            if verifier.process.poll() is None:
                verifier.process.kill()
        for one in services:
            one.stop()
    return verifiers, rotator, seen_kids, tested_expired > 0


def wait_for(condition, seconds, what):
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def report(args, verifiers, rotator, seen_kids, expired_tested):
    faults = list(rotator.faults)
    print(
        f"\n{'verifier':<9} {'verified':>9} {'of these again':>15} {'keys':>5} {'refusals':>9} "
        f"{'bad refused':>12} {'late':>5} {'fetches':>8} {'rotations':>10}"
    )
    for v in verifiers:
        print(
            f"{v.name:<9} {v.verified:>9} {v.again:>15} {len(v.kids):>5} {len(v.failures):>9} "
            f"{v.refused_bad:>12} {v.late:>5} {v.fetches if v.fetches is not None else '?':>8} {rotator.done:>10}"
        )
        faults += [f"{v.name} {failure}" for failure in v.failures]
        if missing := seen_kids - v.kids:
            faults.append(f"{v.name} verified no token of {len(missing)} of the keys")
        if not v.refused_bad:
            faults.append(f"{v.name} was given nothing to refuse")
        if v.late > v.verified / 100:
            faults.append(f"{v.name} answered too late too often")
    print()
    if not args.fault:
        if rotator.done < args.rotations:
            faults.append(f"{rotator.done} rotations where {args.rotations} were asked for")
        if len(seen_kids) < rotator.done + len(ALGORITHMS):
            faults.append(f"tokens of {len(seen_kids)} keys in {rotator.done} rotations: a key never signed")
        if not expired_tested and args.rotations >= MODES[args.mode]["rounds"] * 2:
            faults.append("no expired token could be tried")
    for fault in dict.fromkeys(faults):
        print(f"FAULT: {fault}")
    if args.report:
        args.report.write_text(json.dumps({v.name: len(v.failures) for v in verifiers}))
    return 1 if faults else 0


def self_test(args):
    with tempfile.TemporaryDirectory() as folder:
        outcome = pathlib.Path(folder) / "report.json"
        command = [
            *(sys.executable, __file__, "--fault", "unknown-key", "--report", outcome),
            *("--binary", args.binary, "--tools", args.tools, "--only", ",".join(args.only)),
        ]
        run = subprocess.run([str(part) for part in command])
        refusals = json.loads(outcome.read_text()) if outcome.exists() else {}
    silent = [name for name in args.only if refusals.get(name, 0) < 2]
    if run.returncode != 1 or silent:
        print(f"self-test FAILED: exit status {run.returncode}, not reported: {', '.join(silent) or 'none'}")
        return 1
    print("self-test passed: the run with tokens of an unknown key failed, and every verifier was named")
    return 0


def main():
    names = list(commands(pathlib.Path()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(MODES), default="fast")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/verifiers", help="where they are installed")
    parser.add_argument("--only", default=",".join(names), help="verifiers to run: " + ",".join(names))
    parser.add_argument("--rotations", type=int, help="20 in the fast mode, 4 in the long one")
    parser.add_argument("--self-test", action="store_true", help="prove that a refusal is noticed")
    parser.add_argument("--fault", choices=["unknown-key"], help="make a run that must fail")
    parser.add_argument("--report", type=pathlib.Path, help="write the failures per verifier here, as JSON")
    args = parser.parse_args()
    args.binary, args.tools = args.binary.resolve(), args.tools.resolve()
    args.only = [name for name in args.only.split(",") if name]
    if unknown := set(args.only) - set(names):
        parser.error(f"unknown verifiers: {', '.join(sorted(unknown))}")
    settings = MODES[args.mode]
    if args.rotations is None:
        args.rotations = settings["rounds"] * 2
    if not args.binary.exists():
        parser.error(f"{args.binary} is not there: cargo build --locked")
    if args.self_test:
        return self_test(args)
    with tempfile.TemporaryDirectory(prefix="latchkey-verifiers-") as folder:
        return report(args, *drive(args, settings, pathlib.Path(folder)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as error:
        print(f"FAULT: {error}", file=sys.stderr)
        sys.exit(1)
