"""A network that loses things: an HTTP/1.1 proxy between clients and a Latchkey, and what becomes of each request.

Every tenth answer that Latchkey gives is lost on its way back, the step behind it has happened: without a word (the
client hears nothing, or nothing after half of it, until it gives up), with the connection, or in the middle. Others
come seconds later than they might, some of them later than a client waits. Some requests never arrive, for some a
gateway answers in Latchkey's place. What is drawn follows from a seed and from the order of the requests.

A request that is under way arrives although its client has given up meanwhile: networks do that.
"""

import asyncio
import collections
import contextlib
import dataclasses
import random
import urllib.parse

SILENT, STALLED, RESET, CUT = "silent", "stalled", "reset", "cut"
GATEWAY = (502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>")
BUSY = (503, {"Content-Type": "application/json", "Retry-After": "1"}, b'{"error":"temporarily_unavailable"}')
BUSY_SILENTLY = (503, {}, b"")
HURRIED = (429, {"Content-Type": "application/json", "Retry-After": "2"}, b'{"error":"temporarily_unavailable"}')


@dataclasses.dataclass(frozen=True)
class Fate:
    """What becomes of one request."""

    before: float = 0  # seconds until the request arrives
    after: float = 0  # seconds until the answer is back
    request_lost: str = ""  # SILENT or RESET
    answer_lost: str = ""  # one of the four
    instead: tuple = ()  # status, headers and body that a gateway answers

    def named(self):
        if self.instead:
            return f"answered {self.instead[0]} by a gateway"
        if self.request_lost or self.answer_lost:
            return "request lost" if self.request_lost else "answer lost"
        span = self.before + self.after
        return "delayed beyond the timeout" if span > 5 else "delayed by seconds" if span > 0.5 else "at once"


class Network:
    """Draws fates. Delays are in seconds of a network whose clients wait 5 s."""

    def __init__(self, seed):
        self.random, self.answers, self.counts = random.Random(seed), 0, collections.Counter()

    def draw(self):
        fate = self._draw()
        self.counts[fate.named()] += 1
        return fate

    def _draw(self):
        chance, one_of = self.random.random(), self.random.choice
        if chance < 0.02:
            return Fate(request_lost=one_of([SILENT, RESET]))
        if chance < 0.04:
            return Fate(instead=one_of([GATEWAY, BUSY, BUSY_SILENTLY]))
        self.answers += 1
        if self.answers % 10 == 0:
            return Fate(before=self._brief(), answer_lost=one_of([SILENT, SILENT, STALLED, RESET, CUT]))
        if chance < 0.07:
            return self._somewhere(self.random.uniform(5.2, 9))
        if chance < 0.17:
            return self._somewhere(self.random.uniform(0.6, 4.5))
        return self._somewhere(self._brief())

    def _brief(self):
        return self.random.uniform(0, 0.02)

    def _somewhere(self, span):
        return Fate(before=span) if self.random.random() < 0.5 else Fate(after=span)


class Proxy:
    """Passes requests on, each as its fate is. `script` goes before what the network draws; no network: no losses."""

    def __init__(self, upstream, network=None, scale=1.0):
        self.upstream, self.network, self.scale = upstream, network, scale
        self.script, self.seen = collections.deque(), []
        self.arriving = 0  # requests that are under way to Latchkey or with it
        self._idle, self._connections = [], set()

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def stop(self):
        self.server.close()
        for connection in self._connections:
            connection.cancel()
        for _, writer in self._idle:
            writer.close()

    # How time passes: mass.py lets it pass otherwise.

    async def pass_time(self, _head, seconds):
        if seconds:
            await asyncio.sleep(seconds * self.scale)

    async def keep_silent(self, _head, reader):
        await reader.read()  # until the client has given up

    def done(self, _head):
        pass

    # What passes.

    def fate(self, form):
        """Of the request with this form: a hook for more than a script."""
        if self.script:
            return self.script.popleft()
        return self.network.draw() if self.network else Fate()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._request(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            self._connections.discard(task)
            writer.close()

    async def _request(self, reader, writer):
        """Whether the connection goes on."""
        message = await read(reader)
        if message is None:
            return False
        head, body = message
        form = dict(urllib.parse.parse_qsl(body.decode()))
        fate = self.fate(form)
        seen = Seen(asyncio.get_running_loop().time(), form.get("refresh_token"), fate)
        self.seen.append(seen)
        try:
            if fate.request_lost:
                return await self._lose(head, reader, writer, fate.request_lost, b"")
            self.arriving += 1
            try:
                await self.pass_time(head, fate.before)
                if fate.instead:
                    answer = response(*fate.instead)
                else:
                    seen.status, answer = await self._ask(head + body)
            finally:
                self.arriving -= 1
            await self.pass_time(head, fate.after)
            if fate.answer_lost:
                return await self._lose(head, reader, writer, fate.answer_lost, answer)
            writer.write(answer)
            await writer.drain()
            return True
        finally:
            self.done(head)

    async def _lose(self, head, reader, writer, how, answer):
        if how in (STALLED, CUT):
            writer.write(answer[: len(answer) - 40])
            await writer.drain()
        if how in (SILENT, STALLED):
            await self.keep_silent(head, reader)
        elif how == RESET:
            writer.transport.abort()
        return False

    async def _ask(self, request):
        while True:
            kept = bool(self._idle)
            reader, writer = self._idle.pop() if kept else await asyncio.open_connection("127.0.0.1", self.upstream)
            with contextlib.suppress(ConnectionError):
                writer.write(request)
                answer = await read(reader)
                if answer is not None:
                    self._idle.append((reader, writer))
                    return int(answer[0].split(b" ", 2)[1]), b"".join(answer)
            writer.close()
            if not kept:  # one that was kept may have been closed meanwhile
                raise ConnectionError("Latchkey closed the connection")


@dataclasses.dataclass
class Seen:
    at: float
    refresh_token: str | None
    fate: Fate
    status: int = 0  # what Latchkey answered


async def read(reader):
    """Head and body of a message; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = header(head, b"content-length")
    assert length is not None or header(head, b"transfer-encoding") is None, "a body without a length"
    return head, await reader.readexactly(int(length or 0))


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip()
    return None


def response(status, headers, body):
    lines = [f"HTTP/1.1 {status} Injected", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
