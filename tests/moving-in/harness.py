"""What the switches share: programs on loopback ports, one clock for all of them, Latchkey, and the door in front.

The applications are not told of any clock. What they see of the wall clock is moved beneath them (moved_time.c), and
Latchkey's test clock is moved along. So tokens age by days in the originals as they do in Latchkey, and nobody waits.
"""

import base64
import contextlib
import datetime
import http.client
import http.server
import json
import os
import pathlib
import secrets
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.parse

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LATCHKEY_", "SPRING_", "LD_PRELOAD"))}
    return kept | {"no_proxy": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"} | more


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body) if self.body else None

    def __str__(self):
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def as_json(members):
    return {"body": json.dumps(members), "headers": {"Content-Type": "application/json"}}


def bearer(token, scheme="Bearer"):
    return {"Authorization": f"{scheme} {token}"}


def read(token):
    """Header and claims of a JWT, unverified."""
    return [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2]]


def instant(seconds):
    """RFC 3339, as Latchkey writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock:
    """How far time has moved, for programs that run in its environment (moved_time.c)."""

    def __init__(self, folder):
        self.library, self.file = folder / "moved_time.so", folder / "moved_time"
        source = pathlib.Path(__file__).with_name("moved_time.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        self.file.write_bytes(bytes(8))
        self.offset = 0

    def set(self, offset):
        self.offset = offset
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", offset))

    def now(self):
        return time.time() + self.offset

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "MOVED_TIME": str(self.file)}


class Process:
    """A program that listens on a loopback port of its own."""

    def start(self, command, folder, log, env, port):
        self.port, self.log = port, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        return self

    def ask(self, method, path, body=None, headers=None):
        return ask(self.port, method, path, body, headers)

    def wait_until(self, ready, seconds=90):
        give_up = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ready():
                    return self
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < give_up, f"not ready within {seconds} s:\n{self.tail()}"
            time.sleep(0.05)

    def answers(self, path, status):
        return self.wait_until(lambda: self.ask("GET", path).status == status)

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


class Latchkey(Process):
    """A Latchkey with a test clock, on a database of its own, configured by `settings` (TOML) and `clients`."""

    def __init__(self, binary, folder, clock, settings, clients):
        folder.mkdir()
        self.binary, self.folder = binary, folder
        port = free_port()
        self.issuer, self.admin_secret = f"http://127.0.0.1:{port}", secrets.token_urlsafe(36)
        bootstrap, config = folder / "bootstrap.json", folder / "latchkey.toml"
        bootstrap.write_text(json.dumps({"clients": clients}))
        bootstrap.chmod(0o600)
        config.write_text(settings)
        config.chmod(0o600)
        self.env = environment(
            LATCHKEY__SERVER__LISTEN=f"127.0.0.1:{port}",
            LATCHKEY__BOOTSTRAP__ADMIN_SECRET=self.admin_secret,
            LATCHKEY__BOOTSTRAP__FILE=str(bootstrap),
        )
        self.ahead = 0
        self.serve(port, clock)

    def serve(self, port, clock):
        self.start([self.binary, "serve", "--test-clock"], self.folder, self.folder / "log", self.env, port)
        self.answers("/health/ready", 200)
        self.follow(clock)

    def restart(self, clock):
        """Its test clock goes on where it was."""
        self.stop()
        self.serve(self.port, clock)

    def follow(self, clock):
        """Moves the test clock to where the others are."""
        if clock.offset > self.ahead:
            self.good("POST", "/test/clock", **as_json({"advance": f"{clock.offset - self.ahead}s"}))
            self.ahead = clock.offset
        now = datetime.datetime.fromisoformat(self.good("GET", "/test/clock")["now"]).timestamp()
        assert abs(now - clock.now()) < 5, f"Latchkey's time is {now}, the applications' {clock.now()}"

    def good(self, method, path, body=None, headers=None):
        answer = self.ask(method, path, body, headers)
        assert answer.status in (200, 201, 202, 204), f"{method} {path}: {answer}"
        return answer.json()

    def token(self, client, secret=None, **members):
        """What the token endpoint answers to a client, public without a secret."""
        headers = dict(FORM)
        if secret is None:
            members["client_id"] = client
        else:
            pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        return self.ask("POST", "/oauth2/token", urllib.parse.urlencode(members), headers)

    def exchange(self, client, token, secret=None, **more):
        """A legacy token for Latchkey's."""
        return self.token(client, secret, grant_type=EXCHANGE, subject_token=token, subject_token_type=JWT, **more)

    def admin(self, method, path, members=None):
        grant = {"grant_type": "client_credentials", "scope": "admin"}
        answer = self.token("latchkey-admin", self.admin_secret, **grant)
        assert answer.status == 200, answer
        headers = bearer(answer.json()["access_token"]) | {"Content-Type": "application/json"}
        return self.good(method, f"/admin/v1{path}", json.dumps(members) if members else None, headers)

    def listed(self, path, **query):
        """Every item of a list of the admin API."""
        items, after = [], None
        while True:
            asked = query | {"limit": 1000} | ({"after": after} if after else {})
            page = self.admin("GET", f"{path}?{urllib.parse.urlencode(asked)}")
            items += page["items"]
            after = page.get("next")
            if not after:
                return items

    def command(self, *words):
        """`latchkey WORDS` against this server, as its operator."""
        env = self.env | {"LATCHKEY_CLIENT_SECRET": self.admin_secret}
        said = subprocess.run(
            [self.binary, *words], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        with self.log.open("a") as log:
            log.write(f"$ latchkey {' '.join(map(str, words))}\n{said.stdout}{said.stderr}")
        return said


class Door:
    """The reverse proxy in front of an application. Traffic is moved by giving a path another place to go to."""

    def __init__(self, port):
        self.routes, self.lost = {"/": port}, []
        door = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                door.pass_on(self, self.rfile.read(length) if length else None)

            do_GET = do_POST = do_PUT = do_OPTIONS = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, method, path, body=None, headers=None):
        return ask(self.port, method, path, body, headers)

    def move(self, path, port):
        self.routes = self.routes | {path: port}

    def lose(self, path):
        """The next answer from there does not arrive."""
        self.lost.append(path)

    def told(self, _path, _headers, _body, answer):
        """What is told of an answer: a hook for doors that watch, or lie."""
        return answer

    def pass_on(self, request, body):
        path = request.path.split("?")[0]
        to = self.routes[max((prefix for prefix in self.routes if path.startswith(prefix)), key=len)]
        kept = {k: v for k, v in request.headers.items() if k.lower() not in ("connection", "host", "content-length")}
        try:
            answer = ask(to, request.command, request.path, body, kept)
        except (OSError, http.client.HTTPException):
            return request.send_error(502)
        answer = self.told(path, request.headers, body, answer)
        if path in self.lost:
            self.lost.remove(path)
            request.close_connection = True
            return None
        request.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        request.wfile.write(answer.body)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
