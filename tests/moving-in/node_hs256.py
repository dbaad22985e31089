"""Node with `jwt.sign()` and a shared HS256 secret, whose clients have their token signed anew while it is valid.

Here the clients are updated: the new release exchanges the token that it finds at Latchkey's token endpoint, and has
Latchkey sign anew from then on. The order of time: logins at 0:00, the switch at 3:00, the last update at 4:30, the
cut-off at 5:45; sessions end 12 hours after their last legacy token was signed.
"""

import datetime
import json
import subprocess
import urllib.parse

from harness import (
    EXCHANGE,
    FORM,
    JWT,
    Clock,
    Door,
    Latchkey,
    Process,
    as_json,
    bearer,
    environment,
    free_port,
    instant,
    read,
)
from switch import Client, Switch

SECRET = "keyboard cat, and again keyboard cat"
HOUR = 3600
STEP = HOUR // 2
ACCESS = "urn:ietf:params:oauth:token-type:access_token"

SETTINGS = """
[[legacy_issuers]]
name = "node"
algorithms = ["HS256"]
secret_file = "{secret}"
user_claim = "id"
user_by = "external_id"
clients = ["app"]
cut_off = {cut_off}

[[claims]]
claim = "id"
attribute = "external_id"
as = "integer"

[[claims]]
claim = "email"
attribute = "email"

[[claims]]
claim = "role"
attribute = "attributes.role"
"""

CLIENTS = [
    {
        "client_id": "app",
        "token_endpoint_auth_method": "none",
        "grant_types": ["password", EXCHANGE],
        "scope": "app",
        "audience": ["https://node.example.com"],
        "lifetimes": {"access_ttl": "1h", "refresh_absolute": "12h"},
    }
]


def person(name, role="member"):
    return {
        "email": f"{name}@example.com",
        "username": f"{name}@example.com",
        "password": f"{name}'s passphrase",
        "role": role,
    }


WORKERS = [person("ada", "admin"), person("grace"), person("zoë")]
LAGGARD, SLEEPER, LATE = person("laggard"), person("sleeper"), person("late")
# Of the time before bcrypt: an MD5, which opens nothing any more.
ANCIENT = {"id": 1, "email": "ancient@example.com", "role": "member", "hash": "5f4dcc3b5aa765d61d8327deb882cf99"}
VICTIM, OTHER_VICTIM = person("victim"), person("other-victim")


class Program(Client):
    release, logins = 1, 0

    def login(self):
        self.logins += 1
        if self.release == 1:
            self.token = self.renewed("POST", "/login", **as_json(credentials(self.user)))["token"]
        else:
            name, password = self.user["username"], self.user["password"]
            self.token = self.granted(grant_type="password", username=name, password=password)
        self.ends = self.switch.clock.now() + 12 * HOUR

    def headers(self):
        return bearer(self.token)

    def due(self):
        return self.outdated() or read(self.token)[1]["exp"] - self.switch.clock.now() < STEP + 300

    def outdated(self):
        return self.release == 2 and read(self.token)[0]["alg"] == "HS256"

    def renew(self):
        if self.release == 1:
            self.token = self.renewed("POST", "/renew", None, bearer(self.token))["token"]
        elif self.outdated():
            self.ends = read(self.token)[1]["iat"] + 12 * HOUR
            self.token = self.granted(grant_type=EXCHANGE, subject_token=self.token, subject_token_type=JWT)
        elif self.switch.clock.now() >= self.ends:
            self.login()
        else:
            self.token = self.granted(grant_type=EXCHANGE, subject_token=self.token, subject_token_type=ACCESS)

    def granted(self, **members):
        form = urllib.parse.urlencode(members | {"client_id": "app"})
        return self.renewed("POST", "/oauth2/token", form, FORM)["access_token"]


def credentials(user):
    return {"email": user["email"], "password": user["password"]}


class NodeHs256(Switch):
    name = "node"

    def serve(self, **more):
        users, port = self.place / "users.json", free_port()
        if not users.exists():
            users.write_text(json.dumps([ANCIENT]))
        env = environment(SECRET=SECRET, USERS=str(users), PORT=str(port), **self.clock.environment(), **more)
        service = Process()
        self.processes.append(service)
        service.start(["node", "server.mjs"], self.tools / self.name, self.place / "log", env, port)
        return service.answers("/api/me", 401)

    def before(self):
        self.clock = Clock(self.place)
        self.old = self.serve()
        self.door = Door(self.old.port)
        self.began = self.clock.now()
        self.everyone = [*WORKERS, LAGGARD, VICTIM, OTHER_VICTIM, SLEEPER, LATE]
        for user in self.everyone:
            body = credentials(user) | {"role": user["role"]}
            user["id"] = self.door.ask("POST", "/signup", **as_json(body)).json()["id"]
        self.programs = [Program(self, f"program of {user['email']}", user) for user in WORKERS]
        self.laggard = Program(self, "program that is updated late", LAGGARD)
        self.employ(*self.programs, self.laggard)
        while self.clock.now() < self.began + 3 * HOUR:
            self.advance(STEP)
        self.nobody_lost("before the switch")
        for program in self.programs:
            self.check(program.renewals >= 5, f"{program.label} renewed {program.renewals} times in three hours")
        self.stolen, self.stolen_too = self.legacy(VICTIM), self.legacy(OTHER_VICTIM)
        self.late = self.legacy(LATE)

    def legacy(self, user):
        answer = self.door.ask("POST", "/login", **as_json(credentials(user)))
        assert answer.status == 200, f"login of {user['email']}: {answer}"
        return answer.json()["token"]

    def move(self):
        self.cut_off = int(self.clock.now()) + 2 * HOUR + 3 * HOUR // 4
        secret = self.place / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        cut_off = datetime.datetime.fromtimestamp(self.cut_off, datetime.UTC).isoformat()
        settings = SETTINGS.format(secret=secret, cut_off=cut_off)
        self.latchkey = Latchkey(self.binary, self.place / "latchkey", self.clock, settings, CLIENTS)
        self.processes.append(self.latchkey)
        self.import_users()
        new = self.serve(LATCHKEY=self.latchkey.issuer, CUT_OFF=str(self.cut_off))
        self.door.move("/oauth2/", self.latchkey.port)
        self.replace(new)
        with self.gate.held():
            self.found = {program: read(program.token)[1] for program in self.programs}
            self.door.lose("/oauth2/token")
            for program in self.programs:
                program.release = 2
        self.settle()

    def import_users(self):
        env = environment(USERS=str(self.place / "users.json"))
        lines = subprocess.run(
            ["node", "export.mjs"], cwd=self.tools / self.name, env=env, check=True, capture_output=True
        ).stdout
        file = self.place / "users.jsonl"
        file.write_bytes(lines)
        said = self.latchkey.command("user", "import", file)
        self.equal(said.returncode, 1, "status of an import with a row that is refused")
        self.check("users.jsonl:1:" in said.stderr, f"the refused row is not reported: {said.stderr}")
        self.check(ANCIENT["hash"] not in said.stdout + said.stderr, "the report shows a hash")
        found = {user["username"]: user.get("external_id") for user in self.latchkey.listed("/users")}
        self.equal(found, {user["username"]: str(user["id"]) for user in self.everyone}, "imported users")

    def after(self):
        self.everyone_moved()
        self.thief()
        self.passwords()
        while self.clock.now() < self.began + 4.5 * HOUR:
            self.advance(STEP)
        self.check(
            self.laggard.lost is None and read(self.laggard.token)[0]["alg"] == "HS256", "the laggard lost its login"
        )
        slow = self.legacy(LATE)
        with self.gate.held():
            self.laggard.release = 2
        self.settle()
        self.check(read(self.laggard.token)[0]["alg"] == "ES256", "the laggard has not moved")
        self.not_exchanged("app", self.late, "a legacy token after its exp", "token_inactive")
        self.advance(STEP)
        self.equal(self.me(slow).status, 200, "a legacy token at the API before the cut-off")
        fresh = self.legacy(LATE)
        self.until(self.cut_off + 60)
        for token in (slow, fresh):
            self.equal(self.me(token).status, 401, "a legacy token at the API after the cut-off")
        assert read(fresh)[1]["exp"] > self.clock.now()
        with self.audited("legacy_refused", "a legacy token after the cut-off"):
            self.not_exchanged("app", fresh, "a legacy token after the cut-off", "cut_off")
        self.report_says(users=len(self.everyone), moved=len(self.everyone) - 1, node=(6, 6))  # LATE is left
        self.absolute_limit()

    def me(self, token):
        return self.door.ask("GET", "/api/me", headers=bearer(token))

    def everyone_moved(self):
        self.check(sum(program.retries for program in self.programs), "no program met the lost answer")
        sessions = {session["sid"]: session for session in self.latchkey.listed("/sessions")}
        for program, found in self.found.items():
            header, claims = read(program.token)
            self.equal(header["typ"], "at+jwt", f"typ of {program.label}")
            for name in ("id", "email", "role"):
                self.equal(claims.get(name), found[name], f"{name} of {program.label}")
            started = sessions.get(claims.get("sid"), {}).get("started_at")
            self.equal(started, instant(found["iat"]), f"start of the session of {program.label}")

    def passwords(self):
        for time in ("first", "second"):
            name, password = SLEEPER["username"], SLEEPER["password"]
            answer = self.latchkey.token("app", grant_type="password", username=name, password=password)
            self.equal(answer.status, 200, f"the {time} login with a password of before")
        answer = self.latchkey.token("app", grant_type="password", username=SLEEPER["username"], password="not-it")
        self.refused(answer, 400, "a wrong password", error="invalid_grant")

    def thief(self):
        """A copy of a legacy token, used after its owner's program."""
        for token, used in ((self.stolen, True), (self.stolen_too, False)):
            answer = self.latchkey.exchange("app", token)
            self.equal(answer.status, 200, "the owner's exchange")
            members = {"grant_type": EXCHANGE, "subject_token_type": ACCESS}
            members["subject_token"] = answer.json()["access_token"]
            if used:
                self.equal(self.latchkey.token("app", **members).status, 200, "the owner's next token")
            self.advance(61)
            with self.audited("legacy_replayed", "a stolen token"):
                self.not_exchanged("app", token, "a stolen token", "reused_after_window")
            answer = self.latchkey.token("app", **members)
            self.refused(answer, 400, "the owner's token after the theft", error="invalid_request")

    def absolute_limit(self):
        """Signing anew goes on until 12 hours after the legacy token was signed, and not a second longer."""
        program = self.programs[0]
        ends = self.found[program]["iat"] + 12 * HOUR
        while self.clock.now() < ends - STEP:
            self.advance(STEP)
        self.until(ends - 60)
        self.equal(program.logins, 1, "logins of a program until its absolute limit")
        newest = program.token
        self.until(ends + 1)
        self.equal(program.logins, 2, "logins of a program after its absolute limit")
        self.check(read(newest)[1]["exp"] <= ends, "a token outlives its session")
        members = {"subject_token": newest, "subject_token_type": ACCESS}
        answer = self.latchkey.token("app", grant_type=EXCHANGE, **members)
        self.refused(answer, 400, "signing anew after the absolute limit", error="invalid_request")
