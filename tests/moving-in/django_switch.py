"""What the two Django projects share: their users, their process, and the way their users move."""

import json
import pathlib
import sqlite3
import subprocess

from harness import Clock, Door, Latchkey, Process, as_json, environment, free_port
from switch import Switch

HERE = pathlib.Path(__file__).resolve().parent
SECRET = "a-django-secret-key-that-nobody-has-changed-since-the-project-began"
HASHERS = ("pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt", "scrypt")


def person(name, hasher="default", **more):
    more = {"first_name": name.title(), "last_name": "Liddell", "email": f"{name}@example.com"} | more
    return {"username": name, "password": f"Schlüssel of {name}", "hasher": hasher} | more


# Those who work. Those who have not logged in since the project changed its hasher, whose hashes are of every kind.
# Those of whom answers are compared, and those who come to some end.
WORKERS = [person("ada"), person("grace"), person("Zoë")]
SLEEPERS = [person(f"{hasher}-user", hasher) for hasher in HASHERS]
ALICE, LEAVER, GONE, VICTIM = person("alice"), person("leaver"), person("gone"), person("victim")
INACTIVE, SOCIAL = person("inactive", is_active=False), person("social", password=None)
OTHERS = [ALICE, LEAVER, GONE, VICTIM, INACTIVE, SOCIAL]


class Project(Process):
    """A Django project under runserver."""

    def __init__(self, folder, python, database, clock, log, **more):
        self.folder, self.python = folder, python
        self.env = environment(SECRET_KEY=SECRET, DATABASE=str(database), **clock.environment(), **more)
        self.database, self.where = database, log

    def manage(self, *words, told=None):
        said = subprocess.run(
            [self.python, *words], cwd=self.folder, env=self.env, input=told, capture_output=True, text=True
        )
        assert said.returncode == 0, f"{' '.join(words)}: {said.stderr[-2000:]}"
        return said.stdout

    def seed(self, users):
        self.manage("../seed.py", told=json.dumps(users))

    def prepare(self, users):
        self.manage("service.py", "migrate", "-v0")
        self.seed(users)
        return self

    def serve(self):
        port = free_port()
        command = [self.python, "service.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        return self.start(command, self.folder, self.where, self.env, port).answers("/api/me", 401)

    def rows(self, statement, *values):
        database = sqlite3.connect(self.database, timeout=30)
        try:
            with database:
                return database.execute(statement, values).fetchall()
        finally:
            database.close()

    def pk(self, user):
        return self.rows("SELECT id FROM auth_user WHERE username = ?", user["username"])[0][0]


class DjangoSwitch(Switch):
    def project(self, place, clock, **more):
        python = self.tools / self.name / "venv/bin/python"
        return Project(HERE / self.name, python, place / "database", clock, place / "log", **more)

    def original(self, record):
        """What `record` hears from an original of its own, in a time of its own."""
        place = self.place / "original"
        place.mkdir()
        clock = Clock(place)
        project = self.project(place, clock).prepare(OTHERS)  # first of everyone, so that ids are the same
        self.processes.append(project)
        project.serve()
        heard = record(project, clock)
        project.stop()
        return heard

    def begin(self, users):
        self.clock = Clock(self.place)
        self.old = self.project(self.place, self.clock).prepare(users)
        self.processes.append(self.old)
        self.old.serve()
        self.door = Door(self.old.port)
        self.began = self.clock.now()

    def install(self, settings, clients):
        (self.place / "django.secret").write_text(SECRET)
        (self.place / "django.secret").chmod(0o600)
        self.latchkey = Latchkey(self.binary, self.place / "latchkey", self.clock, settings, clients)
        self.processes.append(self.latchkey)

    def import_users(self, expected):
        """`dumpdata` of the running project, and `latchkey user import` of that."""
        dump = self.place / "users.json"
        dump.write_text(self.old.manage("service.py", "dumpdata", "auth.user"))
        before = {user["username"] for user in self.latchkey.listed("/users")}
        words = ["user", "import", dump, "--format", "django"]
        said = self.latchkey.command(*words, "--dry-run")
        self.check(said.returncode == 0, f"import --dry-run: {said.returncode} {said.stderr}")
        untouched = {user["username"] for user in self.latchkey.listed("/users")}
        self.equal(untouched, before, "users after --dry-run")
        said = self.latchkey.command(*words)
        self.check(said.returncode == 0, f"import: {said.returncode} {said.stderr}")
        users = {user["username"]: user for user in self.latchkey.listed("/users")}
        self.equal(set(users), {user["username"] for user in expected}, "imported users")
        for user in expected:
            found = users.get(user["username"], {})
            self.equal(str(found.get("external_id")), str(self.old.pk(user)), f"external_id of {user['username']}")
            self.equal(found.get("disabled", False), not user.get("is_active", True), f"{user['username']} disabled")

    def redeploy(self):
        """The same application takes Latchkey's tokens too; the old process goes when the new one answers."""
        new = self.project(self.place, self.clock, LATCHKEY=self.latchkey.issuer)
        self.processes.append(new)
        new.serve()
        self.replace(new)

    def disable(self, user):
        """In Latchkey, as an operator does who switches somebody off."""
        self.latchkey.admin("PATCH", f"/users/{self.sub(user)}", {"disabled": True})

    def sub(self, user):
        return next(found["sub"] for found in self.latchkey.listed("/users") if found["username"] == user["username"])

    def passwords(self, users, path, status, claims):
        """They log in with the old password, whatever their hash; then against the new hash."""
        for user in users:
            for time in ("first", "second"):
                answer = self.door.ask(
                    "POST", path, **as_json({"username": user["username"], "password": user["password"]})
                )
                if self.equal(answer.status, status, f"the {time} login of {user['username']}"):
                    self.equal(
                        str(claims(answer).get("user_id")), str(self.old.pk(user)), f"user_id of {user['username']}"
                    )
        for user in (INACTIVE, SOCIAL):
            answer = self.door.ask(
                "POST", path, **as_json({"username": user["username"], "password": f"{user['password']}"})
            )
            self.check(answer.status in (400, 401), f"login of {user['username']}: {answer}")
