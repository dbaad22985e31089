#!/usr/bin/env python3
"""Hundreds of clients, each examples/clients/python as it stands there, through hours of a network that loses things.

How time passes. Latchkey, its clients and the network (proxy.py) have one clock, Latchkey's test clock: the machine's
and what it was moved ahead by. Whoever waits (a client for its next renewal, for an answer or for its next try; the
network while a request or an answer is under way) says until when. The clock is moved only when everybody waits and no
request is with Latchkey, and then to the next moment that somebody waits for, and `--step` beyond it, so that what
falls into one step happens at once. So a delay of 7 s takes 7 s to 8 s on every clock there is, a client gives up
after 5 s to 6 s, and between a lost answer and its retry no time passes but what would really pass. Nothing comes
early; what comes late by a step is harder on the client, not easier.

At the end nobody may have been logged out or have been without a good access token for a moment, every access token
has to be active, and Latchkey must have seen no replay. `--self-test` adds clients that break the rules: each has to be
reported, and nobody else.
"""

import argparse
import asyncio
import collections
import contextlib
import heapq
import itertools
import json
import pathlib
import socket
import sys
import tempfile
import threading
import time
import urllib.parse

import bed
from proxy import Network, Proxy, header

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples/clients/python"))
from session import LoginRequired, Session, kept  # noqa: E402

STUCK = 60  # seconds in which nothing happens
NEGLIGIBLE = 0.05  # seconds: a delay that the machine has anyway


class Time:
    """The clock, and who waits for what. While `busy`, the count of those who do not wait, is not 0, time is real."""

    def __init__(self, latchkey, step):
        self.latchkey, self.step, self.now = latchkey, step, latchkey.now
        self.lock = threading.Lock()
        self.all_wait = threading.Condition(self.lock)
        self.busy, self.waiting, self.order = 0, [], itertools.count()
        self.hour = self.now() + 3600

    def at(self, moment, wake):
        """Calls `wake` then, unless the entry's last member has become None. Under the lock."""
        entry = [moment, next(self.order), wake]
        heapq.heappush(self.waiting, entry)
        return entry

    def count(self, change):
        """Under the lock."""
        self.busy += change
        if self.busy == 0:
            self.all_wait.notify()

    def sleep(self, seconds):
        """Lets a thread that counts wait."""
        if seconds > 0:
            gate = threading.Event()
            with self.lock:
                self.at(self.now() + seconds, gate.set)
                self.count(-1)
            gate.wait()

    async def pause(self, seconds):
        """The same for a task that counts."""
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        with self.lock:
            self.at(self.now() + seconds, lambda: loop.call_soon_threadsafe(gate.set_result, None))
            self.count(-1)
        await gate

    def run(self):
        """Until nobody waits for anything any more."""
        while True:
            with self.lock:
                assert self.all_wait.wait_for(lambda: self.busy == 0, STUCK), f"{self.busy} are busy for {STUCK} s"
                while self.waiting and self.waiting[0][2] is None:
                    heapq.heappop(self.waiting)
                if not self.waiting:
                    return
                ahead = self.waiting[0][0] - self.now()
                due = []
                while self.waiting and self.waiting[0][0] <= self.now():
                    wake = heapq.heappop(self.waiting)[2]
                    if wake is not None:
                        due.append(wake)
                self.count(len(due))
                for wake in due:
                    wake()
            if not due:
                self.latchkey.advance(max(0.001, ahead + self.step))
            if self.now() >= self.hour:
                self.hour += 3600
                print(".", end="", flush=True)


class Call:
    """A request under way. Somebody counts for it: the network, until its client has the answer; then the client.

    A client that gives up counts for itself again, and the network goes on counting for the request until that is done.
    """

    def __init__(self):
        self.socket, self.counts, self.given_up, self.done = None, True, False, False

    def give_up(self):
        self.given_up = True
        with contextlib.suppress(OSError):  # the answer came in the same step
            self.socket.shutdown(socket.SHUT_RDWR)


class Wire:
    """The `post` of examples/clients/python for one client, with a timeout of the clock above."""

    names = itertools.count()

    def __init__(self, time_, proxy):
        self.time, self.proxy, self.connection = time_, proxy, None

    def post(self, url, form, headers, timeout):
        call, name = Call(), str(next(self.names))
        connection = self.connection or socket.create_connection(("127.0.0.1", self.proxy.port), 2 * STUCK)
        self.connection, call.socket, self.proxy.calls[name] = None, connection, call
        with self.time.lock:
            alarm = self.time.at(self.time.now() + timeout, call.give_up)
        body = urllib.parse.urlencode(form).encode()
        lines = [f"POST {urllib.parse.urlsplit(url).path} HTTP/1.1", "Host: latchkey", f"X-Call: {name}",
                 "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]  # fmt: skip
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            answer = read(connection)
        except OSError:
            answer = None
        finally:
            with self.time.lock:
                alarm[2] = None
                if not call.given_up:
                    call.counts = False  # the client counts now
                elif call.done and call.counts:
                    call.counts = False
                    self.time.count(-1)
        if answer is None or call.given_up:
            connection.close()
        else:
            self.connection = connection
        return answer or (0, {}, {})


def read(connection):
    """Status, headers and JSON of an answer, None where it is not whole: by hand, because there are 100,000 to read."""
    found, length = b"", None
    while length is None or len(found) < length:
        piece = connection.recv(16384)
        if not piece:
            return None
        found += piece
        end = found.find(b"\r\n\r\n") + 4
        if length is None and end >= 4:
            length = end + int(header(found[:end], b"content-length") or 0)
    wait = header(found[:end], b"retry-after")
    body = json.loads(found[end:]) if found[end : end + 1] == b"{" else {}
    return int(found[9:12]), {"Retry-After": wait.decode()} if wait else {}, body


class SlowedProxy(Proxy):
    """The network, under the clock above."""

    def __init__(self, time_, upstream, network):
        super().__init__(upstream, network)
        self.time, self.calls = time_, {}

    def call(self, head):
        return self.calls[header(head, b"x-call").decode()]

    async def pass_time(self, head, seconds):
        if seconds > NEGLIGIBLE:
            await self.time.pause(seconds)

    async def keep_silent(self, head, reader):
        with self.time.lock:
            call = self.call(head)
            if call.counts:
                call.counts = False
                self.time.count(-1)
        await reader.read()

    def done(self, head):
        with self.time.lock:
            call = self.call(head)
            call.done = True
            if call.given_up and call.counts:
                call.counts = False
                self.time.count(-1)
        del self.calls[header(head, b"x-call").decode()]


# --- clients ---------------------------------------------------------------------------------------------


class Client:
    """A session, its saved tokens and what became of it."""

    def __init__(self, mass, number):
        self.mass, self.number, self.saved = mass, number, []
        self.logged_out, self.fault, self.renewals, self.slowest, self.least = None, None, 0, 0.0, float("inf")
        client, secret = ("app", None) if number % 2 else ("web", bed.SECRET)
        asked = mass.time.now()
        tokens = kept(mass.latchkey.login(client, secret, f"user-{number % USERS}"), asked)
        issuer = f"http://127.0.0.1:{mass.proxy.port}"
        self.session = Session(issuer, client, tokens, self.save, secret, patience=None)
        self.session.post = Wire(mass.time, mass.proxy).post
        self.session.now, self.session.sleep = mass.time.now, mass.time.sleep

    def save(self, tokens):
        self.saved.append(tokens)

    def live(self, until):
        try:
            while (due := self.session.tokens["renew_at"]) < until:
                self.mass.time.sleep(due - self.mass.time.now())
                self.renew()
        except LoginRequired as reason:
            self.logged_out = str(reason)
        except BaseException as error:
            self.fault = f"{type(error).__name__}: {error}"
        finally:
            with self.mass.time.lock:
                self.mass.time.count(-1)

    def renew(self):
        old, began = self.session.tokens, self.mass.time.now()
        token = self.session.access_token()
        now = self.mass.time.now()
        assert self.saved[-1]["access_token"] == token != old["access_token"], "a token that was not saved"
        self.renewals, self.slowest = self.renewals + 1, max(self.slowest, now - began)
        self.least = min(self.least, old["expires_at"] - now)


class GivesUp(Client):
    """Breaks the rule: after a request without an answer it tries again minutes later."""

    def __init__(self, mass, number):
        super().__init__(mass, number)
        self.session.sleep = lambda _seconds: mass.time.sleep(100)


class Forgets(Client):
    """Breaks the rule: it does not save each new refresh token, and one day goes on from an old file."""

    def renew(self):
        super().renew()
        if self.renewals == 10:
            self.session.tokens = self.session.tokens | {"refresh_token": self.saved[-3]["refresh_token"]}


WRONG = [GivesUp] * 5 + [Forgets] * 5
USERS = 10


class Mass:
    def __init__(self, args, folder):
        clients = [
            bed.PUBLIC | {"client_id": "app"},
            bed.GRANTS | {"client_id": "web", "client_secret": bed.SECRET},
        ]
        users = [f"user-{number}" for number in range(USERS)]
        self.latchkey = bed.Latchkey(args.binary.resolve(), folder / "latchkey", clients, users)
        self.time = Time(self.latchkey, args.step)
        self.network = Network(args.seed)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.proxy = SlowedProxy(self.time, self.latchkey.port, self.network)
        asyncio.run_coroutine_threadsafe(self.proxy.start(), self.loop).result(30)

    def stop(self):
        self.loop.call_soon_threadsafe(self.proxy.stop)
        self.latchkey.stop()

    def run(self, kinds, hours):
        began = time.monotonic()
        self.clients = [kind(self, number) for number, kind in enumerate(kinds)]
        print(f"{len(self.clients)} sessions after {time.monotonic() - began:.0f} s", flush=True)
        start = self.time.now()
        until = start + hours * 3600
        self.time.busy = len(self.clients)
        for client in self.clients:
            threading.Thread(target=client.live, args=[until], daemon=True).start()
        self.time.run()
        self.passed = self.time.now() - start

    def faults(self):
        """By client; None stands for Latchkey."""
        found = {}
        for client in self.clients:
            what = client.fault or (client.logged_out and f"logged out: {client.logged_out}")
            if not what and client.least <= 0:
                what = f"without a good access token for {-client.least:.0f} s"
            if not what and client.renewals == 0:
                what = "never renewed"
            if not what and not self.latchkey.active(client.session.tokens["access_token"]):
                what = "its access token is not active at the end"
            if what:
                found[client] = what
        if not found and (replays := self.latchkey.events("refresh_reused")):
            found[None] = f"Latchkey saw {len(replays)} replays"
        if not found and self.network.answers < 20:
            found[None] = "the network lost next to nothing: that shows nothing"
        return found

    def report(self):
        counts, seen = self.network.counts, self.proxy.seen
        renewals = sum(client.renewals for client in self.clients)
        tries = collections.Counter(s.refresh_token for s in seen).values()
        most = collections.Counter(min(count, 6) for count in tries)
        print(f" {self.passed / 3600:.1f} h of the test clock in {self.latchkey.moves} moves")
        print(f"{renewals} renewals by {len(seen)} requests: " + ", ".join(
            f"{counts[name]} {name}" for name in sorted(counts, key=counts.get, reverse=True)))  # fmt: skip
        print("tries a renewal took: " + ", ".join(
            f"{count}{'+' if count == 6 else ''}: {most[count]}" for count in sorted(most)))  # fmt: skip
        counted = self.latchkey.request("GET", "/metrics")[1].decode()
        print("Latchkey counted: " + ", ".join(
            line for line in counted.splitlines() if line.startswith("latchkey_refreshes_total") and line[-2:] != " 0"))
        print(f"slowest renewal {max(c.slowest for c in self.clients):.0f} s, least rest of an old access token when "
              f"the new one came {min(c.least for c in self.clients):.0f} s")  # fmt: skip


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--clients", type=int, default=50)
    arguments.add_argument("--hours", type=float, default=10, help="of the test clock")
    arguments.add_argument("--step", type=float, default=1, help="seconds of the test clock that happen at once")
    arguments.add_argument("--seed", default="1", help="of what the network loses")
    arguments.add_argument("--self-test", action="store_true", help="with clients that break the rules")
    args = arguments.parse_args()
    print(f"{args.clients} clients, {args.hours:g} hours, step {args.step:g} s, seed {args.seed}", flush=True)
    started = time.monotonic()
    threading.stack_size(256 * 1024)
    wrong = WRONG if args.self_test else []
    with tempfile.TemporaryDirectory(prefix="latchkey-mass.") as place:
        mass = Mass(args, pathlib.Path(place))
        try:
            mass.run([*[Client] * args.clients, *wrong], args.hours)
            mass.report()
            faults = mass.faults()
        except BaseException:
            print(f"the end of Latchkey's log:\n{mass.latchkey.tail()}", flush=True)
            raise
        finally:
            mass.stop()
    for client, what in list(faults.items())[:20]:
        print(f"{type(client).__name__ if client else 'Latchkey'} {client.number if client else ''}: {what}")
    if args.self_test:
        failed = {type(client) for client in faults} != {*WRONG} or len(faults) < 0.8 * len(WRONG)
        print(f"{'FAIL' if failed else 'ok'}    {len(faults)} reported, of {len(WRONG)} that break the rules")
    else:
        failed = bool(faults)
        verdict = "FAIL" if failed else "ok"
        print(f"{verdict:<6}{len(faults)} of {args.clients} clients lost their session or a moment of it")
    print(f"took {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
