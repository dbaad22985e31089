"""A Latchkey under a test clock, for the programs beside this one: started on a free port, with time that they move."""

import base64
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.parse

SECRET = "a-secret-of-at-least-32-characters-for-tests"
AUDIENCE = "https://api.example.com"
PASSWORD = "down-the-rabbit-hole"
GRANTS = {"grant_types": ["password", "refresh_token"], "scope": "read write", "audience": [AUDIENCE]}
PUBLIC = GRANTS | {"token_endpoint_auth_method": "none"}
API = {"client_id": "api", "client_secret": SECRET, "resource_identifiers": [AUDIENCE]}


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LATCHKEY_")}
    return kept | {"no_proxy": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"} | more


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Latchkey:
    def __init__(self, binary, folder, clients, users, **settings):
        folder.mkdir()
        self.port, self.admin_secret = free_port(), secrets.token_urlsafe(36)
        self.issuer, self.log = f"http://127.0.0.1:{self.port}", folder / "log"
        self.ahead, self.moves = 0.0, 0
        bootstrap = folder / "bootstrap.json"
        people = [{"username": user, "password": PASSWORD} for user in users]
        bootstrap.write_text(json.dumps({"clients": [*clients, API], "users": people}))
        bootstrap.chmod(0o600)
        settings |= {
            "SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "BOOTSTRAP__ADMIN_SECRET": self.admin_secret,
            "BOOTSTRAP__FILE": str(bootstrap),
            # Many log in here, and how they do is not what is tested.
            "PASSWORDS__MEMORY": "8MiB",
            "PASSWORDS__ITERATIONS": "1",
        }
        env = environment(**{f"LATCHKEY__{key}": value for key, value in settings.items()})
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(binary), "serve", "--test-clock"], cwd=folder, env=env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self._connection = None
        self._wait_until_ready()

    def _wait_until_ready(self):
        give_up = time.monotonic() + 90
        while True:
            try:
                if self.request("GET", "/health/ready")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert self.process.poll() is None, f"Latchkey ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < give_up, f"Latchkey is not ready within 90 s:\n{self.tail()}"
            time.sleep(0.1)

    def tail(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "the test clock was moved" not in line][-25:])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # --- requests, past the network that loses them ---

    def request(self, method, path, body=None, headers=None):
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            self._connection.request(method, path, body, headers or {})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise

    def good(self, method, path, body=None, headers=None):
        status, text = self.request(method, path, body, headers)
        assert status in (200, 201, 204), f"{method} {path}: {status} {text.decode()}"
        return json.loads(text) if text else None

    def form(self, path, client, secret=None, **members):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if secret is None:
            members["client_id"] = client
        else:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()
        return self.good("POST", path, urllib.parse.urlencode(members), headers)

    def admin(self, method, path, body=None):
        # A token for each call: the clock may have moved past the last one's end.
        asked = {"grant_type": "client_credentials", "scope": "admin"}
        token = self.form("/oauth2/token", "latchkey-admin", self.admin_secret, **asked)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self.good(method, f"/admin/v1{path}", json.dumps(body) if body else None, headers)

    def login(self, client, secret=None, user="alice"):
        return self.form("/oauth2/token", client, secret, grant_type="password", username=user, password=PASSWORD)

    def active(self, token):
        """What Latchkey says of an access token; None where it is not active."""
        said = self.form("/oauth2/introspect", "api", SECRET, token=token)
        return said if said["active"] else None

    def events(self, kind):
        return self.admin("GET", f"/audit?type={kind}&limit=100")["items"]

    # --- time ---

    def now(self):
        """Latchkey's time, Unix seconds."""
        return time.time() + self.ahead

    def advance(self, seconds):
        millis = round(seconds * 1000)
        if millis > 0:
            headers = {"Content-Type": "application/json"}
            self.good("POST", "/test/clock", json.dumps({"advance": f"{millis}ms"}), headers)
            self.ahead += millis / 1000
            self.moves += 1
