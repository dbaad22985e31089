"""The processes of deploy/, on loopback: a PostgreSQL that asks for a password, two nodes, and the balancer."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.parse

import manifests

ISSUER = "https://id.example.com"
# An address of this machine that no proxy has.
USER = "127.0.0.2"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, true, seconds=60):
    give_up = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():
                return
        assert time.monotonic() < give_up, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def run(command, **more):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **more)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


class Site:
    """Somewhere that answers HTTP on a port of loopback."""

    def __init__(self, port, tls=None):
        self.port, self.tls = port, tls

    def ask(self, path, form=None, body=None, client=None, bearer=None, **headers):
        """Status and text of the answer."""
        where = {"timeout": 20, "source_address": (USER, 0)}
        if self.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, **where)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, **where)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if client:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(client).encode()).decode()
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if form:
            headers["Content-Type"], sent = "application/x-www-form-urlencoded", urllib.parse.urlencode(form)
        else:
            headers["Content-Type"], sent = "application/json", body and json.dumps(body)
        try:
            connection.request("POST" if sent else "GET", path, sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def told(self, path, **more):
        """The JSON of an answer that must be a good one."""
        status, text = self.ask(path, **more)
        assert status in (200, 201), f"{path}: {status} {text}"
        return json.loads(text)


class Program:
    """A process with a log."""

    def __init__(self, command, log, **more):
        self.log = log
        with log.open("ab") as out:
            command = [str(part) for part in command]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)

    def lives(self):
        text = self.log.read_text(errors="replace")[-3000:]
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {text}"
        return True

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


class Postgres:
    """A server of its own, which asks for the password that deploy/secrets.sh has made."""

    def __init__(self, bindir, user, secrets):
        self.bindir, self.user, self.port = bindir, user, free_port()
        self.password = (secrets / "database-password").read_text()
        # Short: the path of a Unix socket may have 107 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="latchkey-deploy-", dir="/tmp"))
        given = self.folder / "password"
        given.write_text(self.password)
        if self.user:
            owner = pwd.getpwnam(self.user)
            for path in [self.folder, given]:
                os.chown(path, owner.pw_uid, owner.pw_gid)
        how = ["-U", "latchkey", f"--pwfile={given}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]
        self.call("initdb", "-D", self.folder / "data", *how)
        self.start()

    def call(self, program, *arguments):
        ahead = ["runuser", "-u", self.user, "--"] if self.user else []
        # The server keeps what it is given open, so nothing here waits for its output to end.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        command = [str(part) for part in [*ahead, self.bindir / program, *arguments]]
        assert subprocess.run(command, **quiet).returncode == 0, f"{program} failed"

    def start(self):
        where = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        self.call("pg_ctl", "-s", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", where, "start")

    def stop(self):
        self.call("pg_ctl", "-s", "-w", "-m", "fast", "-D", self.folder / "data", "stop")

    def fresh(self):
        """A database without a table, as both files would have it made."""
        for command in [["dropdb", "--if-exists"], ["createdb"]]:
            where = ["-h", "127.0.0.1", "-p", self.port, "-U", "latchkey", "latchkey"]
            run([self.bindir / command[0], *command[1:], *where], env=os.environ | {"PGPASSWORD": self.password})

    def remove(self):
        with contextlib.suppress(AssertionError):
            self.stop()
        shutil.rmtree(self.folder)


class Service:
    """Two nodes, as one of the ways to deploy configures them.

    `places` are folders here by their paths in a container, `environment` is a container's.
    """

    def __init__(self, binary, folder, toml, places, environment):
        self.binary, self.folder, self.toml = binary, folder, toml
        self.places, self.environment = places, environment
        self.public, self.admin = [[Site(free_port()) for _ in manifests.NODES] for _ in range(2)]
        self.nodes = []

    def moved(self, text):
        for place, folder in self.places.items():
            text = text.replace(place, str(folder))
        return text

    def start(self, postgres):
        """Both at once."""
        for name, public, admin in zip(manifests.NODES, self.public, self.admin):
            text = self.moved(self.toml).replace("@postgres/", f"@127.0.0.1:{postgres.port}/")
            text = text.replace("0.0.0.0:8420", f"127.0.0.1:{public.port}")
            text = text.replace("0.0.0.0:8421", f"127.0.0.1:{admin.port}")
            text = re.sub(r'trusted_proxies = \["[^"]*"\]', 'trusted_proxies = ["127.0.0.1"]', text)
            self.configuration(name).write_text(text)
            command = [self.binary, "serve", "--config", self.configuration(name)]
            log = self.folder / f"{name}.log"
            self.nodes.append(Program(command, log, env=self.variables(), cwd=self.folder))
        for node, site in zip(self.nodes, self.public):
            until("ready", lambda: node.lives() and site.ask("/health/ready")[0] == 200)  # noqa: B023

    def configuration(self, name):
        return self.folder / f"{name}.toml"

    def variables(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LATCHKEY_", "PG"))}
        return kept | {name: self.moved(value) for name, value in self.environment.items()}

    def command(self, *words):
        """What Latchkey prints for a command, where the first node is."""
        command = [self.binary, *words, "--config", self.configuration(manifests.NODES[0])]
        return run(command, env=self.variables(), cwd=self.folder)

    def stop(self):
        for node in self.nodes:
            node.stop()


class Balancer:
    """HAProxy before two nodes, by its file but for the places."""

    def __init__(self, haproxy, text, folder, service):
        self.folder = folder
        plain, secure = free_port(), free_port()
        text = text.replace("/run/secrets/", f"{folder}/").replace(":8080", f"127.0.0.1:{plain}")
        text = text.replace(":8443", f"127.0.0.1:{secure}")
        for name, site in zip(manifests.NODES, service.public):
            text = text.replace(f"{name}:8420", f"127.0.0.1:{site.port}")
        file = folder / "haproxy.cfg"
        file.write_text(text)
        self.plain, self.secure = Site(plain), Site(secure, self.certificate())
        run([haproxy, "-c", "-f", file])
        self.program = Program([haproxy, "-db", "-f", file], folder / "haproxy.log")
        until("the balancer", lambda: self.program.lives() and self.secure.ask("/health/ready")[0] == 200)

    def certificate(self):
        key, certificate = self.folder / "key.pem", self.folder / "cert.pem"
        names = ["-subj", "/CN=id.example.com", "-addext", "subjectAltName=IP:127.0.0.1"]
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate]
        run(["openssl", "req", "-x509", *made, *names])
        (self.folder / "certificate.pem").write_text(certificate.read_text() + key.read_text())
        return ssl.create_default_context(cafile=certificate)
