#!/usr/bin/env python3
"""Hashes from the programs that make them, through the front door of a running Latchkey.

Django, argon2-cffi, bcrypt, PHP, Spring Security and OpenLDAP's slappasswd hash the same few passwords. Each hash is
given to a user by the admin API; then its password logs in and no other does; the hash has become argon2id; and the
password logs in again. What costs more than the ceilings allow is refused with the value and the limit, and a ceiling
that is lowered later holds for what was taken in before.

`--tools` is where ./check has installed and built the programs; `--only` names those that are there.
"""

import argparse
import base64
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
SECRET = "a-secret-of-at-least-32-characters-for-tests"
MAKERS = ["django", "php", "spring", "openldap"]

LONG = "a passphrase that is longer than the seventy-two bytes that bcrypt looks at, and then some"
PASSWORDS = ["correct horse battery staple", "пароль 密码 😀", " spaces around ", "cafe\N{COMBINING ACUTE ACCENT}", LONG]
CALM = {"passwords.queue": 64, "passwords.client_failures": 100_000, "passwords.address_failures": 100_000}


def made_by_django(tools):
    answer = run([tools / "python/venv/bin/python", HERE / "django_make.py"], json.dumps(PASSWORDS))
    return json.loads(answer)


def made_by_php(tools):
    return json.loads(run(["php", HERE / "php_make.php"], json.dumps(PASSWORDS)))


def made_by_spring(tools):
    lines = "\n".join(base64.b64encode(password.encode()).decode() for password in PASSWORDS)
    classes = f"{tools / 'spring/classes'}:{tools / 'spring/lib'}/*"
    answer = run(["java", "-XX:TieredStopAtLevel=1", "-cp", classes, "Make"], lines)
    return {kind: hashes for kind, *hashes in (line.split("\t") for line in answer.splitlines())}


def made_by_openldap(tools):
    root = tools / "openldap"
    program = root / "usr/sbin/slappasswd"
    libraries = ":".join(str(folder) for folder in root.glob("usr/lib/*-linux-gnu"))
    env = os.environ | {"LD_LIBRARY_PATH": libraries}
    kinds = {}
    for scheme, module in {
        "{SSHA}": "pw-sha2", "{SSHA256}": "pw-sha2", "{SSHA384}": "pw-sha2", "{SSHA512}": "pw-sha2",
        "{ARGON2}": "argon2 m=4096 t=2",
    }.items():  # fmt: skip
        options = ["-n", "-o", f"module-path={root / 'usr/lib/ldap'}", "-o", f"module-load={module}", "-h", scheme]
        kinds[f"openldap {scheme}"] = [run([program, *options, "-s", password], "", env) for password in PASSWORDS]
    return kinds


def run(command, given, env=None):
    done = subprocess.run([str(part) for part in command], input=given, env=env, text=True, capture_output=True)
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr}"
    return done.stdout


class Latchkey:
    """One on SQLite, with a client `app` of the password grant."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.admin_secret = binary, folder, secrets.token_urlsafe(36)
        client = {"client_id": "app", "client_secret": SECRET, "grant_types": ["password"], "scope": "read"}
        (folder / "bootstrap.json").write_text(json.dumps({"clients": [client]}))
        self.settings = {"bootstrap.file": "bootstrap.json", "bootstrap.admin_secret": self.admin_secret} | CALM
        self.process = None

    def start(self, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LATCHKEY_")}
        named = self.settings | {"server.listen": f"127.0.0.1:{self.port}"} | settings
        env = kept | {f"LATCHKEY__{key.replace('.', '__').upper()}": str(value) for key, value in named.items()}
        with (self.folder / "log").open("ab") as log:
            command = [str(self.binary), "serve"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)
        give_up = time.monotonic() + 60
        while True:
            try:
                if self.call("GET", "/health/ready")[0] == 200:
                    break
            except OSError:
                pass
            assert self.process.poll() is None and time.monotonic() < give_up, self.log()
            time.sleep(0.1)
        form = {"grant_type": "client_credentials", "scope": "admin:users"}
        status, answer = self.form(form, "latchkey-admin", self.admin_secret)
        assert status == 200, answer
        self.bearer = answer["access_token"]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def form(self, form, client="app", secret=SECRET):
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {basic}"}
        return self.call("POST", "/oauth2/token", urllib.parse.urlencode(form), headers)

    def login(self, username, password):
        return self.form({"grant_type": "password", "username": username, "password": password})

    def add(self, username, password_hash):
        body = json.dumps({"username": username, "password_hash": password_hash})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.bearer}"}
        return self.call("POST", "/admin/v1/users", body, headers)

    def stored(self, username):
        database = sqlite3.connect(f"file:{self.folder / 'latchkey.db'}?mode=ro", uri=True)
        with database:
            found = database.execute("SELECT password_hash FROM users WHERE username = ?", [username]).fetchone()
        database.close()
        return found[0]


def follow(latchkey, kind, hashes):
    """Each hash is taken, opens to its password alone, and becomes argon2id."""
    began = time.monotonic()
    for n, (password, made) in enumerate(zip(PASSWORDS, hashes)):
        name = f"{kind.replace(' ', '-').translate(dict.fromkeys(map(ord, '{}$')))}-{n}".lower()
        status, answer = latchkey.add(name, made)
        assert status == 201, f"{kind}: {made} is refused: {answer}"
        status, answer = latchkey.login(name, password[1:])
        assert (status, answer["error"]) == (400, "invalid_grant"), f"{kind}: {made} opens to another password"
        assert latchkey.stored(name) == made, f"{kind}: a wrong password changed the hash"
        status, answer = latchkey.login(name, password)
        assert status == 200, f"{kind}: {made} does not open to {password!r}: {answer}"
        moved = latchkey.stored(name)
        # A hash that looks like one of ours is replaced for its parameters.
        assert moved.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and moved != made, f"{kind}: {moved} after the login"
        assert latchkey.login(name, password)[0] == 200, f"{kind}: {password!r} no longer opens"
        assert latchkey.login(name, password + "!")[0] == 400, f"{kind}: anything opens"
        # Composed or not, it is the same password from now on.
        if password.startswith("cafe"):
            assert latchkey.login(name, "caf\N{LATIN SMALL LETTER E WITH ACUTE}")[0] == 200, kind
    return f"{kind}: {len(hashes)} hashes, {time.monotonic() - began:.1f} s"


def too_dear(made):
    """Hashes of the makers at hand, raised above the ceilings, and what is to be said of each."""
    argon2 = "$argon2id$v=19$m=262145,t=1,p=1$LNlgfvAQ1I/v/gXZmTl5pg$s4jZezV2rB/qhllTQAqOWEi6j0puyqDuvdf+Xi1AfEo"
    yield argon2, "262145 KiB", "262144 KiB"
    yield "{argon2}" + argon2, "262145 KiB", "262144 KiB"
    if "django pbkdf2_sha256" in made:
        name, _, rest = made["django pbkdf2_sha256"][0].split("$", 2)
        yield f"{name}$10000001${rest}", "10000001", "10000000"
        _, n, rest = made["django scrypt"][0].split("$", 2)
        yield f"scrypt${1 << 18}${rest}", "KiB", "262144 KiB"
        yield made["django bcrypt_sha256"][0].replace("$05$", "$17$"), "cost 17", "16"
    if "php default" in made:
        yield made["php default"][0].replace("$05$", "$31$"), "cost 31", "16"


def ceilings(latchkey, made):
    refused = 0
    for text, value, limit in too_dear(made):
        status, answer = latchkey.add("dear", text)
        told = answer.get("error_description", "")
        assert status == 400 and value in told and limit in told, f"{text}: {status} {answer}"
        refused += 1
    # Taken in below the ceiling, which is then lowered, and raised again.
    kind, hashes = next((k, h) for k, h in made.items() if "bcrypt" in k or k == "php default")
    assert latchkey.add("late", hashes[0])[0] == 201, kind
    latchkey.stop()
    latchkey.start(**{"passwords.ceiling_bcrypt": 4})
    assert latchkey.add("later", hashes[0])[0] == 400, kind
    assert latchkey.login("late", PASSWORDS[0])[0] == 400, f"{kind}: it is checked above the ceiling"
    assert "passwords.ceiling_bcrypt is 4" in latchkey.log(), latchkey.log()
    latchkey.stop()
    latchkey.start()
    assert latchkey.login("late", PASSWORDS[0])[0] == 200, kind
    return f"ceilings: {refused} refused, and one lowered under {kind}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--tools", type=pathlib.Path, required=True)
    parser.add_argument("--only", default=",".join(MAKERS), help="makers, by commas: " + ", ".join(MAKERS))
    options = parser.parse_args()
    wanted = options.only.split(",")
    assert set(wanted) <= set(MAKERS), f"there are {', '.join(MAKERS)}"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="latchkey-hashes-"))
    latchkey = Latchkey(options.binary.resolve(), folder)
    try:
        made = {}
        for maker in wanted:
            made |= globals()[f"made_by_{maker}"](options.tools.resolve())
        (folder / "vectors.json").write_text(json.dumps(made, ensure_ascii=False, indent=1))
        latchkey.start()
        for kind, hashes in made.items():
            print(follow(latchkey, kind, hashes), flush=True)
        print(ceilings(latchkey, made), flush=True)
    except AssertionError as fault:
        print(f"FAILED: {fault}", file=sys.stderr)
        print(f"the log and the vectors are in {folder}", file=sys.stderr)
        return 1
    finally:
        latchkey.stop()
    shutil.rmtree(folder)
    print(f"{len(made)} kinds of hashes: every login kept, every hash replaced")
    return 0


if __name__ == "__main__":
    sys.exit(main())
