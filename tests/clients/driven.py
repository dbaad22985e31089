"""One of examples/clients/ under way, and what stands around it: a Latchkey, a network, files.

A client runs in a driver (drivers/) that is told orders and tells answers, a line of JSON each:

    {"id": 1, "do": "clock", "ahead": 12.5}                 how many seconds the client's clock is ahead of the machine's
    {"id": 2, "do": "token", "callers": 5, "refused": ...}  so many callers ask at once
    {"id": 2, "answers": [...]}                             what each was told

A caller is told {"token": ...} or {"kind": ..., "said": ...}: login_required, refused, unavailable or, for what nobody
has foreseen, fault. With PAUSE=before-save or after-save the driver says {"paused": ...} there and stays.
"""

import asyncio
import json
import queue
import subprocess
import threading
import time

import bed
import proxy


class Client:
    """A driver under way."""

    def __init__(self, command, log, env):
        self.log, self.orders = log, 0
        self.answers, self.paused, self._order = {}, queue.Queue(), threading.Lock()
        self.process = subprocess.Popen(
            [str(part) for part in command], env=bed.environment(**env), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("ab"),
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "paused" in said:
                self.paused.put(said["paused"])
            else:
                self.answers[said["id"]].put(said)

    def order(self, **what):
        """Where the answer will be."""
        with self._order:
            self.orders += 1
            answer = self.answers[self.orders] = queue.Queue()
            self.process.stdin.write(json.dumps({"id": self.orders, **what}) + "\n")
            self.process.stdin.flush()
            return answer

    def clock(self, ahead):
        self.told(self.order(do="clock", ahead=ahead))

    def told(self, answer, within=60):
        try:
            return answer.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"the driver says nothing:\n{self.log.read_text(errors='replace')[-2000:]}") from None

    def ask(self, callers=1, refused=None):
        return self.order(do="token", callers=callers, **({"refused": refused} if refused else {}))

    def answered(self, answer):
        """What all callers were told, if it is one thing."""
        told = self.told(answer)["answers"]
        assert all(one == told[0] for one in told), f"callers are told different things: {told}"
        return told[0]

    def token(self, callers=1, refused=None):
        told = self.answered(self.ask(callers, refused))
        assert "token" in told, f"no token: {told}"
        return told["token"]

    def refusal(self, callers=1):
        told = self.answered(self.ask(callers))
        return told.get("kind", "a token"), told.get("said")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Bed:
    """One client's Latchkey, network and files."""

    def __init__(self, name, spec, args, loop, folder):
        self.name, (self.driver, self.program), self.scale = name, spec, args.scale
        self.seed, self.hours = args.seed, args.hours
        self.folder, self.clients, self.faults, self.passed, self.figures = folder, [], [], 0, {}
        short = {"lifetimes": {"refresh_idle": "1h", "refresh_absolute": "2h"}}
        clients = [
            bed.PUBLIC | {"client_id": "app"},
            bed.PUBLIC | {"client_id": "short", **short},
            bed.GRANTS | {"client_id": "web", "client_secret": bed.SECRET},
        ]
        folder.mkdir()
        self.latchkey = bed.Latchkey(args.binary.resolve(), folder / "latchkey", clients, ["alice", "bob"])
        self.loop = loop
        self.proxy = self.in_loop(proxy.Proxy(self.latchkey.port).start())
        self.files = 0

    def in_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self):
        for client in self.clients:
            client.kill()
        self.loop.call_soon_threadsafe(self.proxy.stop)
        self.latchkey.stop()

    # --- what scenarios are made of ---

    def session(self, client="app", secret=None, user="alice"):
        """A file with the tokens of a new login."""
        asked = self.latchkey.now()
        answer = self.latchkey.login(client, secret, user)
        self.files += 1
        file = self.folder / f"session-{self.files}.json"
        kept = {
            "access_token": answer["access_token"],
            "refresh_token": answer["refresh_token"],
            "renew_at": asked + answer["refresh_in"],
            "expires_at": asked + answer["expires_in"],
            "session_expires_at": answer["session_expires_at"],
        }
        file.write_text(json.dumps(kept))
        return file

    def client(self, file, client="app", **env):
        given = {
            "ISSUER": f"http://127.0.0.1:{self.proxy.port}",
            "CLIENT_ID": client,
            "FILE": str(file),
            "TIMEOUT": "5",
            "PATIENCE": "15",
        }
        started = Client(self.driver, self.folder / "driver.log", given | env)
        self.clients.append(started)
        started.clock(self.latchkey.ahead)
        return started

    def move(self, seconds):
        # A request that is delayed by seconds is not to arrive minutes later.
        give_up = time.monotonic() + 30
        while self.proxy.arriving:
            assert time.monotonic() < give_up, "a request does not arrive"
            time.sleep(0.01)
        self.latchkey.advance(seconds)
        for client in self.clients:
            if client.process.poll() is None:
                client.clock(self.latchkey.ahead)

    def until_due(self, file, before=0):
        self.move(max(0, load(file)["renew_at"] - before - self.latchkey.now()) + (0 if before else 0.05))

    def requests(self, since=0):
        return self.proxy.seen[since:]

    def expect_requests(self, since, count):
        seen = self.requests(since)
        assert len(seen) == count, f"{len(seen)} requests, not {count}: {[(s.status, s.fate) for s in seen]}"
        assert len({s.refresh_token for s in seen}) <= 1, "the tries of one renewal are of different refresh tokens"
        return seen

    def expect_active(self, token):
        assert self.latchkey.active(token), f"the access token is not active at {self.latchkey.now():.1f}: {token}"


def load(file):
    return json.loads(file.read_text())
