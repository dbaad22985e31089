"""A switch: an application with users, clients that keep working through it, and what is counted and checked.

A client does what clients of the original do, no more: it calls the application, and gets a new token in its ordinary
way when it needs one. When that fails, its login is lost, which is the fault that all this is about. Time moves between
its rounds, never within one.
"""

import contextlib
import http.client
import json
import math
import threading
import time

import answers

PACE = 0.1  # seconds a client rests between its rounds


class Gate:
    """Many clients go through, or one mover of time."""

    def __init__(self):
        self.changed, self.inside, self.closed = threading.Condition(), 0, False

    @contextlib.contextmanager
    def round(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.inside += 1
        try:
            yield
        finally:
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def held(self):
        with self.changed:
            self.closed = True
            self.changed.wait_for(lambda: not self.inside)
        try:
            yield
        finally:
            with self.changed:
                self.closed = False
                self.changed.notify_all()


class LoginLost(Exception):
    pass


class Client(threading.Thread):
    """Somebody's program. Subclasses know how it logs in, what it shows and how it renews."""

    resource = "/api/me"

    def __init__(self, switch, name, user):
        super().__init__(daemon=True)
        self.switch, self.label, self.user = switch, name, user
        self.rounds = self.calls = self.renewals = self.retries = 0
        self.lost, self.ending = None, threading.Event()

    def login(self):
        raise NotImplementedError

    def headers(self):
        raise NotImplementedError

    def renew(self):
        """A new token, in the client's ordinary way."""
        raise NotImplementedError

    def due(self):
        """Whether it renews before it calls."""
        return False

    def ask(self, method, path, body=None, headers=None):
        """A request through the door. What got no answer is sent again."""
        for _ in range(3):
            try:
                return self.switch.door.ask(method, path, body, headers)
            except (OSError, http.client.HTTPException):
                self.retries += 1
        raise LoginLost(f"{method} {path} has no answer")

    def renewed(self, method, path, body, headers):
        answer = self.ask(method, path, body, headers)
        if answer.status not in (200, 201):
            raise LoginLost(f"{method} {path}: {answer}")
        self.renewals += 1
        return answer.json()

    def work(self):
        if self.due():
            self.renew()
        answer = self.ask("GET", self.resource, headers=self.headers())
        if answer.status == 401:
            self.renew()
            answer = self.ask("GET", self.resource, headers=self.headers())
        if answer.status != 200:
            raise LoginLost(f"GET {self.resource} after a renewal: {answer}")
        who = answer.json()["username"]
        assert who == self.user["username"], f"{self.label} of {self.user['username']} was taken for {who}"
        self.calls += 1

    def run(self):
        while not self.ending.is_set() and self.lost is None:
            with self.switch.gate.round():
                try:
                    self.work()
                except Exception as error:  # the thread ends with it, and the switch reports it
                    self.lost = f"{type(error).__name__}: {error}"
                self.rounds += 1
            self.ending.wait(PACE)


class Switch:
    """Subclasses have `before`, `move` and `after`."""

    name = ""

    def __init__(self, place, tools, binary):
        self.place, self.tools, self.binary = place / self.name, tools, binary
        self.place.mkdir()
        self.gate, self.faults, self.checks = Gate(), [], 0
        self.clients, self.dismissed, self.processes = [], [], []
        self.door = self.latchkey = None

    # --- what is checked

    def check(self, good, what):
        self.checks += 1
        if not good:
            self.faults.append(what)
        return good

    def equal(self, found, wanted, what):
        return self.check(found == wanted, f"{what}: {found!r}, not {wanted!r}")

    def refused(self, answer, status, what, **members):
        """An error answer with these members."""
        try:
            body = answer.json()
        except ValueError:
            body = None
        same = isinstance(body, dict) and all(body.get(key) == value for key, value in members.items())
        return self.check(answer.status == status and same, f"{what}: {answer}, not {status} {members}")

    def same_answers(self, title, cases, original, tokens, different):
        """Latchkey's answers to `cases` against the recorded ones of the original."""
        for case, request in cases.items():
            found = answers.shape(answers.send(self.door, request, tokens))
            wanted = original[case]
            part = different.get((title, case), different.get(case))
            if part:
                found, wanted = part(found), part(wanted)
            self.check(found == wanted, f"{title}, {case}: {found}, the original said {wanted}")

    @contextlib.contextmanager
    def audited(self, kind, what):
        """An event of this type is in the trail of what happens meanwhile."""
        before = {event["id"] for event in self.latchkey.listed("/audit")}
        yield
        new = [event["type"] for event in self.latchkey.listed("/audit") if event["id"] not in before]
        self.check(kind in new, f"{what}: {kind} is not in the trail, which has {new}")

    def not_exchanged(self, client, token, what, reason, secret=None):
        """A legacy token that is not taken (RFC 8693 section 2.2.2 has `invalid_request` for that)."""
        answer = self.latchkey.exchange(client, token, secret)
        self.refused(answer, 400, f"the exchange of {what}", error="invalid_request", reason=reason)

    def report_says(self, users, moved, **issuers):
        """`latchkey migration`, which counts who has moved; of each issuer its tokens and users."""
        said = self.latchkey.command("migration", "--json")
        if self.check(said.returncode == 0, f"latchkey migration: {said.stderr}"):
            report = json.loads(said.stdout)
            found = {issuer["name"]: (issuer["tokens"], issuer["users"]) for issuer in report["legacy_issuers"]}
            self.equal(found, issuers, "the report's legacy tokens and their users")
            self.equal((report["users"], report["moved"], report["left"]), (users, moved, users - moved), "the report")

    # --- time

    def advance(self, seconds):
        """Moves every clock, then waits until each client has worked at the new time."""
        with self.gate.held():
            self.clock.set(self.clock.offset + int(seconds))
            if self.latchkey:
                self.latchkey.follow(self.clock)
        self.settle()

    def until(self, moment):
        self.advance(max(0, math.ceil(moment - self.clock.now())))

    def settle(self):
        """Every client has begun and finished a round since."""
        with self.gate.held():
            goals = {client: client.rounds + 1 for client in self.clients}
        give_up = time.monotonic() + 60
        while any(client.rounds < goal and client.lost is None for client, goal in goals.items()):
            assert time.monotonic() < give_up, "the clients do not get on"
            time.sleep(0.005)

    # --- clients

    def replace(self, new):
        """The application by a newer instance of it. The old one goes when it has answered what it was asked."""
        self.door.move("/", new.port)
        self.settle()
        self.old.stop()
        self.old = new

    def employ(self, *clients):
        for client in clients:
            client.login()
            self.clients.append(client)
            client.start()

    def dismiss(self, *clients):
        for client in [*clients]:
            client.ending.set()
            client.join()
            if client.lost:
                self.faults.append(f"{client.label}: {client.lost}")
            self.clients.remove(client)
            self.dismissed.append(client)

    def nobody_lost(self, when):
        for client in self.clients:
            self.check(client.lost is None, f"{when}: the login of {client.label} is lost: {client.lost}")

    # --- the run

    def run(self, before_only):
        self.before()
        if before_only:
            self.dismiss(*self.clients)
            return
        self.move()
        self.nobody_lost("after the switch")
        self.after()
        self.nobody_lost("in the end")
        self.dismiss(*self.clients)

    def stop(self):
        for client in self.clients:
            client.ending.set()
        for client in self.clients:
            client.join()
        for process in self.processes:
            process.stop()
        if self.door:
            self.door.stop()

    def logs(self):
        ends = {process.log: process.tail() for process in self.processes if hasattr(process, "log")}
        return "\n".join(f"the end of {log.relative_to(self.place.parent)}:\n{tail}" for log, tail in ends.items())

    def report(self, seconds):
        verdict = "FAIL" if self.faults else "ok"
        clients = [*self.clients, *self.dismissed]
        calls, renewals = sum(c.calls for c in clients), sum(c.renewals for c in clients)
        said = (
            f"{verdict:<6}{self.name:<18}{len(clients):>4} clients{calls:>7} calls{renewals:>6} renewals"
            f"{self.checks:>6} checks  {seconds:.0f} s"
        )
        return "\n".join([said, *(f"      {fault}" for fault in self.faults)])
