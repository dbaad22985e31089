"""Spring Boot with a token in Redis: the JWT of the login is the key, the renewed JWT the value; clients show the key.

What a client holds has long expired by its own `exp`; what lives is the value in Redis. So the portal, from the switch
to the cut-off, hands that out once, and the client's new release exchanges it. The order of time: logins at 0:00, the
switch at 3:20, the last update an hour later, and an hour after that the cut-off.
"""

import base64
import datetime
import subprocess
import urllib.parse
import zipfile

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

SECRET = "spring-boot-and-redis-and-a-secret-in-application-yml"
PORTAL_SECRET = "a-secret-of-at-least-32-characters-for-the-portal"
HOUR, MINUTE = 3600, 60
STEP = 25 * MINUTE  # a JWT lives for 30 minutes, what Redis keeps for an hour after its last use

SETTINGS = """
[[legacy_issuers]]
name = "portal"
algorithms = ["HS256"]
secret_file = "{secret}"
user_claim = "username"
user_by = "username"
clients = ["portal"]
cut_off = {cut_off}

[[claims]]
claim = "username"
attribute = "username"
"""

CLIENTS = [
    {
        "client_id": "portal",
        "client_secret": PORTAL_SECRET,
        "grant_types": ["password", "refresh_token", EXCHANGE],
        "scope": "portal",
        "audience": ["https://portal.example.com"],
    }
]

# What an operator has H2 write, with the names that `latchkey user import` reads.
EXPORT = """CALL CSVWRITE('{file}', 'SELECT username AS "username", password AS "password_hash", id AS "external_id",
    email AS "email", NOT enabled AS "disabled" FROM users')"""


def person(name, encoder="bcrypt"):
    return {"username": name, "password": f"{name} :: passphrase", "email": f"{name}@example.com", "encoder": encoder}


WORKERS = [person("ada"), person("grace", "pbkdf2@SpringSecurity_v5_8"), person("zoë", "scrypt@SpringSecurity_v5_8")]
SLEEPERS = [person(f"{id.split('@')[0]}-user", id) for id in ("bcrypt", "argon2@SpringSecurity_v5_8")]
LAGGARD, VICTIM, FORGOTTEN, LATE = person("laggard"), person("victim"), person("forgotten"), person("late")
DISABLED = person("disabled")


class Program(Client):
    release, logins = 1, 0
    token = access = None

    def login(self):
        self.token = self.renewed("POST", "/login", **as_json(credentials(self.user)))["token"]
        self.logins += 1

    def headers(self):
        return bearer(self.access) if self.access else {"X-Access-Token": self.token}

    def due(self):
        return self.release == 2 and self.access is None

    def renew(self):
        """The first release has nothing to renew: Redis does it."""
        assert self.release == 2, "the token of the login is refused"
        if self.access is None:
            self.handed = self.renewed("POST", "/handover", None, {"X-Access-Token": self.token})["token"]
            self.granted(grant_type=EXCHANGE, subject_token=self.handed, subject_token_type=JWT)
        else:
            self.granted(grant_type="refresh_token", refresh_token=self.refresh)

    def granted(self, **members):
        pair = base64.b64encode(f"portal:{PORTAL_SECRET}".encode()).decode()
        headers = FORM | {"Authorization": f"Basic {pair}"}
        answer = self.renewed("POST", "/oauth2/token", urllib.parse.urlencode(members), headers)
        self.access, self.refresh = answer["access_token"], answer["refresh_token"]


def credentials(user):
    return {"username": user["username"], "password": user["password"]}


class SpringRedis(Switch):
    name = "spring-redis"

    def serve(self, **more):
        port = free_port()
        env = self.clock.environment() | {"SECRET": SECRET, "PORT": str(port), "REDIS_PORT": str(self.redis.port)}
        env |= {"DATABASE": str(self.place / "users")}
        command = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx192m", "-Dh2.bindAddress=127.0.0.1"]
        service = Process()
        self.processes.append(service)
        service.start(
            [*command, "-jar", self.tools / self.name / "portal.jar"],
            self.place,
            self.place / f"log-{port}",
            environment(**env, **more),
            port,
        )
        return service.answers("/api/me", 401)

    def serve_redis(self):
        port = free_port()
        self.redis = Process()
        self.processes.append(self.redis)
        self.redis.start(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
            self.place,
            self.place / "redis.log",
            environment(**self.clock.environment()),
            port,
        )
        self.redis.wait_until(lambda: self.tell_redis("PING") == "PONG")

    def tell_redis(self, *words):
        said = subprocess.run(["redis-cli", "-p", str(self.redis.port), *words], capture_output=True, text=True)
        return said.stdout.strip()

    def before(self):
        self.clock = Clock(self.place)
        self.serve_redis()
        self.old = self.serve()
        self.door = Door(self.old.port)
        self.began = self.clock.now()
        self.everyone = [*WORKERS, *SLEEPERS, LAGGARD, VICTIM, FORGOTTEN, LATE, DISABLED]
        for user in self.everyone:
            answer = self.door.ask("POST", "/signup", **as_json(user))
            self.equal(answer.status, 201, f"signup of {user['username']}")
        self.programs = [Program(self, f"program of {user['username']}", user) for user in WORKERS]
        self.laggard = Program(self, "program that is updated late", LAGGARD)
        self.employ(*self.programs, self.laggard)
        while self.clock.now() < self.began + 3 * HOUR:
            self.advance(STEP)
        self.nobody_lost("before the switch")
        for program in self.programs:
            self.check(read(program.token)[1]["exp"] < self.clock.now() - HOUR, "a token is renewed by the client")
        self.forgotten = self.legacy(FORGOTTEN)
        self.stolen, self.late = self.legacy(VICTIM), self.legacy(LATE)

    def legacy(self, user):
        answer = self.door.ask("POST", "/login", **as_json(credentials(user)))
        assert answer.status == 200, f"login of {user['username']}: {answer}"
        return answer.json()["token"]

    def move(self):
        self.cut_off = int(self.clock.now()) + 2 * HOUR
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
            self.door.lose("/handover")
            self.door.lose("/oauth2/token")
            for program in self.programs:
                program.release = 2
        self.settle()

    def import_users(self):
        file = self.place / "users.csv"
        with zipfile.ZipFile(self.tools / self.name / "portal.jar") as jar:
            h2 = next(name for name in jar.namelist() if name.startswith("BOOT-INF/lib/h2-"))
            (self.place / "h2.jar").write_bytes(jar.read(h2))
        url = f"jdbc:h2:file:{self.place / 'users'};AUTO_SERVER=TRUE"
        shell = ["java", "-cp", str(self.place / "h2.jar"), "org.h2.tools.Shell", "-url", url, "-user", "portal"]
        sql = f"UPDATE users SET enabled = FALSE WHERE username = '{DISABLED['username']}'; {EXPORT.format(file=file)}"
        subprocess.run([*shell, "-sql", sql.replace("\n", " ")], check=True, env=environment(), capture_output=True)
        said = self.latchkey.command("user", "import", file)
        self.check(said.returncode == 0, f"import: {said.returncode} {said.stderr}")
        found = {user["username"]: user.get("disabled", False) for user in self.latchkey.listed("/users")}
        self.equal(found, {user["username"]: user is DISABLED for user in self.everyone}, "imported users")

    def after(self):
        self.everyone_moved()
        self.thief()
        self.passwords()
        self.advance(STEP)
        for _ in range(2):
            self.advance(STEP)
        self.equal(self.me(self.forgotten).status, 401, "a token that nobody used for an hour")
        self.check(self.laggard.lost is None and self.laggard.access is None, "the laggard lost its login")
        with self.gate.held():
            self.laggard.release = 2
        self.settle()
        self.check(self.laggard.access is not None, "the laggard has not moved")
        slow = self.legacy(LATE)
        self.until(self.cut_off - 10 * MINUTE)
        handed = self.hand_over(slow).json()["token"]
        fresh = self.legacy(LATE)
        self.until(self.cut_off + 60)
        self.equal(self.me(fresh).status, 401, "a legacy token at the API after the cut-off")
        self.equal(self.hand_over(fresh).status, 401, "the handover after the cut-off")
        assert read(handed)[1]["exp"] > self.clock.now()
        with self.audited("legacy_refused", "a legacy token after the cut-off"):
            self.not_exchanged("portal", handed, "a legacy token after the cut-off", "cut_off", PORTAL_SECRET)
        # Left are the one who is disabled and the one whose token was forgotten.
        self.report_says(users=len(self.everyone), moved=len(self.everyone) - 2, portal=(6, 6))
        for _ in range(3):
            self.advance(STEP)
        for program in [*self.programs, self.laggard]:
            self.equal(program.logins, 1, f"logins of {program.label}")

    def me(self, token):
        return self.door.ask("GET", "/api/me", headers={"X-Access-Token": token})

    def hand_over(self, token):
        return self.door.ask("POST", "/handover", headers={"X-Access-Token": token})

    def everyone_moved(self):
        self.check(sum(program.retries for program in self.programs) >= 2, "the lost answers were not met")
        sessions = {session["sid"]: session for session in self.latchkey.listed("/sessions")}
        for program in self.programs:
            header, claims = read(program.access)
            self.equal(header["typ"], "at+jwt", f"typ of {program.label}")
            self.equal(claims.get("username"), program.user["username"], f"username of {program.label}")
            started = sessions.get(claims.get("sid"), {}).get("started_at")
            handed = instant(read(program.handed)[1]["iat"])
            self.equal(started, handed, f"start of the session of {program.label}")
        self.advance(61)
        for program in self.programs:
            self.equal(self.me(program.token).status, 401, f"the string of {program.label} after its handover")

    def passwords(self):
        for user in SLEEPERS:
            for time in ("first", "second"):
                answer = self.latchkey.token("portal", PORTAL_SECRET, grant_type="password", **credentials(user))
                self.equal(answer.status, 200, f"the {time} login of {user['username']}")
        answer = self.latchkey.token("portal", PORTAL_SECRET, grant_type="password", **credentials(DISABLED))
        self.refused(answer, 400, "the login of a disabled user", error="invalid_grant")

    def thief(self):
        """A copy of the JWT that was handed out, used after its owner's program."""
        for login, used in ((self.stolen, True), (self.late, False)):
            handed = self.hand_over(login).json()["token"]
            answer = self.latchkey.exchange("portal", handed, PORTAL_SECRET)
            self.equal(answer.status, 200, "the owner's exchange")
            again = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
            if used:
                answer = self.latchkey.token("portal", PORTAL_SECRET, **again)
                self.equal(answer.status, 200, "the owner's refresh")
                again["refresh_token"] = answer.json()["refresh_token"]
            else:
                self.advance(61)
            with self.audited("legacy_replayed", "a stolen token"):
                self.not_exchanged("portal", handed, "a stolen token", "reused_after_window", PORTAL_SECRET)
            answer = self.latchkey.token("portal", PORTAL_SECRET, **again)
            self.refused(answer, 400, "the owner's token after the theft", error="invalid_grant")
