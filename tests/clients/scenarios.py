"""What every client of examples/clients/ has to get right, each a function of a bed (driven.py)."""

import json
import subprocess
import time

import bed
import proxy
from driven import load
from proxy import CUT, RESET, SILENT, STALLED, Fate

WINDOW = 60  # seconds, refresh_retry_window


def hours(b):
    """Renewals through the lossy network, for hours."""
    file = b.session()
    span = {"TIMEOUT": str(5 * b.scale), "PATIENCE": str(15 * b.scale)}
    client = b.client(file, **span)
    retries, replays = len(b.latchkey.events("refresh_retried")), b.latchkey.events("refresh_reused")
    network = proxy.Network(f"{b.seed} {b.name}")
    b.proxy.network, b.proxy.scale = network, b.scale
    end, rounds, since, slowest = b.latchkey.now() + b.hours * 3600, 0, len(b.requests()), 0
    while b.latchkey.now() < end:
        before = load(file)
        if rounds % 8 == 0:
            b.until_due(file, before=3)
            mark = len(b.requests())
            assert client.token() == before["access_token"], "renewed before it was due"
            b.expect_requests(mark, 0)
        b.until_due(file)
        mark, began = len(b.requests()), b.latchkey.now()
        while True:
            told = client.told(client.ask(callers=3))["answers"]
            tokens = {one.get("token", str(one)) for one in told} - {before["access_token"]}
            if tokens:  # the old one is given out while it is good and tries are under way
                break
            assert b.latchkey.now() < began + WINDOW, "not renewed within a minute"
        after = load(file)
        assert tokens == {after["access_token"]}, f"round {rounds}: told {told}"
        assert b.latchkey.now() < before["expires_at"], "the old token had expired when the new one came"
        sent = {s.refresh_token for s in b.requests(mark)}
        assert sent == {before["refresh_token"]}, "another refresh token was sent"
        b.expect_active(after["access_token"])
        slowest, rounds = max(slowest, b.latchkey.now() - began), rounds + 1
        if rounds % 20 == 0:
            client.kill()
            client = b.client(file, **span)
    assert b.latchkey.events("refresh_reused") == replays, "Latchkey saw a replay"
    counts, lost = network.counts, network.counts["answer lost"]
    assert lost >= rounds // 15, f"the network lost {lost} answers in {rounds} renewals: that shows nothing"
    assert len(b.latchkey.events("refresh_retried")) > retries, "Latchkey saw no retry"
    b.figures = {"renewals": rounds, "requests": len(b.requests(since)), **counts, "slowest": slowest}
    client.kill()


def one_for_all(b):
    """However many ask, there is one request; and one more for a token that a service has refused."""
    file = b.session()
    client, since = b.client(file), len(b.requests())
    b.until_due(file)
    b.proxy.script.append(Fate(before=0.5))
    token = client.token(callers=50)
    b.expect_requests(since, 1)
    assert token == load(file)["access_token"] and b.latchkey.active(token)
    b.proxy.script.append(Fate(before=0.5))
    renewed = client.token(callers=20, refused=token)
    b.expect_requests(since + 1, 1)
    assert renewed != token and client.token(callers=5, refused=token) == renewed, "an old refusal renews a new token"
    b.expect_requests(since + 1, 1)


def again(b):
    """After a lost answer the same token is sent again: at once, then after short pauses, or when the server says."""
    timeout = 5 * b.scale
    file = b.session()
    client, slack = b.client(file, TIMEOUT=str(timeout)), 0.4
    instead = [Fate(instead=one) for one in (proxy.GATEWAY, proxy.BUSY_SILENTLY, (408, {}, b""), (200, {}, b"<html>"))]
    prompt = [Fate(answer_lost=RESET), Fate(answer_lost=CUT), Fate(request_lost=RESET), *instead]
    silent = [Fate(answer_lost=SILENT), Fate(answer_lost=STALLED), Fate(request_lost=SILENT)]
    late = [*silent, Fate(after=timeout + 0.5)]
    cases = [
        *(([fate], [(0, slack)]) for fate in prompt),
        *(([fate], [(timeout - slack, timeout + slack)]) for fate in late),
        ([Fate(instead=proxy.HURRIED)], [(1.9, 2 + slack)]),
        ([Fate(answer_lost=RESET)] * 4, [(0, slack), (0.25, 0.5 + slack), (0.5, 1 + slack), (1, 2 + slack)]),
    ]

    def tried(script, gaps):
        """What was wrong with the pauses."""
        before, since = load(file), len(b.requests())
        b.until_due(file)
        b.proxy.script.extend(script)
        token = client.token(callers=2)
        seen = b.expect_requests(since, len(script) + 1)
        assert seen[0].refresh_token == before["refresh_token"] and token != before["access_token"]
        b.expect_active(token)
        for earlier, later, (least, most) in zip(seen, seen[1:], gaps):
            gap = later.at - earlier.at
            if not least <= gap <= most:
                return f"after {earlier.fate} the next try came in {gap:.2f} s, not {least} to {most}"
        return None

    for script, gaps in cases:
        for _ in range(4):  # a busy machine makes a client late now and then, but not four times in a row
            wrong = tried(script, gaps)
            if wrong is None:
                break
        assert wrong is None, wrong


def overtaken(b):
    """A request that arrives when its retry has been answered is harmless."""
    file = b.session()
    client, since = b.client(file, TIMEOUT=str(5 * b.scale)), len(b.requests())
    b.until_due(file)
    b.proxy.script.append(Fate(before=5 * b.scale + 0.6))
    client.token()
    b.until_due(file)
    assert [s.status for s in b.expect_requests(since, 2)] == [200, 200]
    b.expect_active(client.token())


def outage(b):
    """While Latchkey is away, the token goes as long as it is good, and the session goes on afterwards."""

    class Away:
        def draw(self):
            return Fate(instead=proxy.BUSY)

    file = b.session()
    client, before = b.client(file, PATIENCE="1"), load(file)
    b.until_due(file)
    b.proxy.network = Away()
    assert client.token(callers=3) == before["access_token"], "not the old token, which is still good"
    b.move(before["expires_at"] - b.latchkey.now() + 1)
    assert client.refusal()[0] == "unavailable", "gives out an expired token"
    b.proxy.network = None
    give_up = time.monotonic() + 20
    while "token" not in (told := client.answered(client.ask())):
        assert told["kind"] == "unavailable" and time.monotonic() < give_up, told
    b.expect_active(told["token"])


def killed(b):
    """New tokens are saved before anyone has them, so a kill at any moment costs nothing."""
    file = b.session()
    client, before, since = b.client(file, PAUSE="before-save", PATIENCE="1"), load(file), len(b.requests())
    b.until_due(file)
    answer = client.ask(callers=2)
    client.told(client.paused)
    told = client.answered(answer)
    assert told.get("token") == before["access_token"], f"told {told} before it was saved"
    client.kill()
    assert load(file) == before
    client = b.client(file)
    b.expect_active(client.token())
    assert [s.status for s in b.expect_requests(since, 2)] == [200, 200]

    client.kill()
    client = b.client(file, PAUSE="after-save", PATIENCE="60")
    before, since = load(file), len(b.requests())
    b.until_due(file)
    answer = client.ask()
    client.told(client.paused)
    after = load(file)
    assert after["refresh_token"] != before["refresh_token"], "not saved"
    time.sleep(0.2)  # in which a client that does not wait for the saving would tell
    assert answer.empty(), "told before the saving had ended"
    client.kill()
    client = b.client(file)
    assert client.token() == after["access_token"]
    b.expect_requests(since, 1)
    b.until_due(file)
    b.expect_active(client.token())


def over(b, client, reason, since):
    """The session is over: everybody is told to log in, by one request, for good."""
    for callers in (5, 1):
        assert (found := client.refusal(callers)) == ("login_required", reason), f"{found}, not {reason}"
    b.move(3600)
    assert client.refusal() == ("login_required", reason)
    b.expect_requests(since, 1)
    client.kill()


def replayed(b):
    """A refresh token of long ago: a replay."""
    file = b.session()
    old, client = file.read_text(), b.client(file)
    for _ in range(2):
        b.until_due(file)
        client.token()
    client.kill()
    file.write_text(old)
    client, since = b.client(file), len(b.requests())
    over(b, client, "reused_after_window", since)
    assert b.latchkey.events("refresh_reused"), "Latchkey saw no replay"


def restored(b):
    """The parent of the current one: inside the window as good as that, after it a replay."""
    file = b.session()
    old, client = file.read_text(), b.client(file)
    b.until_due(file)
    client.token()
    current = load(file)
    client.kill()
    file.write_text(old)
    b.move(WINDOW - 10)
    client = b.client(file)
    b.expect_active(client.token())
    assert load(file)["refresh_token"] == current["refresh_token"], "another successor"
    client.kill()
    file.write_text(old)
    b.move(11)
    over(b, b.client(file), "reused_after_window", len(b.requests()))


def idle(b):
    file = b.session("short")
    client, since = b.client(file, "short"), len(b.requests())
    b.move(3600 + 1)
    over(b, client, "idle_expired", since)


def absolute(b):
    file = b.session("short")
    client = b.client(file, "short")
    for _ in range(2):
        b.move(55 * 60)
        client.token()
    b.move(10 * 60 + 1)
    over(b, client, "absolute_expired", len(b.requests()))


def revoked(b):
    file = b.session()
    client, since = b.client(file), len(b.requests())
    b.latchkey.form("/oauth2/revoke", "app", token=load(file)["refresh_token"])
    b.until_due(file)
    over(b, client, "revoked", since)


def garbled(b):
    """A token that is none of Latchkey's is refused to a public client without a reason."""
    file = b.session()
    file.write_text(json.dumps(load(file) | {"refresh_token": "lkr_garbled"}))
    client, since = b.client(file), len(b.requests())
    b.until_due(file)
    over(b, client, "unknown_session", since)


def mended(b, client, since, kind, said):
    """Refused, and not for good: nobody logs in, one request asks, and another one half a minute later."""
    assert kind == "refused" and said, f"{kind}: {said}"
    assert client.refusal(5) == (kind, said)
    b.expect_requests(since, 1)
    b.move(WINDOW / 2 + 1)


def disabled(b):
    """A disabled client goes on when it is enabled again. Disabling a user ends the sessions."""
    file = b.session("web", bed.SECRET)
    client, since = b.client(file, "web", CLIENT_SECRET=bed.SECRET), len(b.requests())
    b.until_due(file)
    b.latchkey.admin("PATCH", "/clients/web", {"disabled": True})
    try:
        kind, said = client.refusal(5)
        assert "client_disabled" in said, f"{kind}: {said}"
        mended(b, client, since, kind, said)
    finally:
        b.latchkey.admin("PATCH", "/clients/web", {"disabled": False})
    b.expect_active(client.token())

    file = b.session(user="bob")
    client, since = b.client(file), len(b.requests())
    b.until_due(file)
    sub = b.latchkey.active(b.latchkey.login("app", user="bob")["access_token"])["sub"]
    b.latchkey.admin("PATCH", f"/users/{sub}", {"disabled": True})
    assert client.refusal() == ("login_required", "user_disabled")
    b.latchkey.admin("PATCH", f"/users/{sub}", {"disabled": False})
    over(b, client, "user_disabled", since)


def mistaken(b):
    """A mistake in the setup is told, costs no session and is not tried over and over."""
    file = b.session("web", bed.SECRET)
    before = load(file)
    client, since = b.client(file, "web", CLIENT_SECRET="not-the-secret-of-at-least-32-characters"), len(b.requests())
    b.until_due(file)
    kind, said = client.refusal(5)
    assert "invalid_client" in said, said
    mended(b, client, since, kind, said)
    client.kill()
    client, since = b.client(file, "web", CLIENT_SECRET=bed.SECRET), len(b.requests())
    b.expect_active(client.token())
    assert b.expect_requests(since, 1)[0].refresh_token == before["refresh_token"]
    for status, body, named in [
        (400, b'{"error":"invalid_scope","error_description":"more than there is"}', "invalid_scope"),
        (400, b'{"error":"invalid_grant","reason":"a_word_of_tomorrow"}', "a_word_of_tomorrow"),
        (401, b'{"error":"invalid_grant","reason":"revoked"}', "revoked"),
        (404, b"<html>Not Found</html>", "404"),
    ]:
        b.until_due(file)
        since = len(b.requests())
        b.proxy.script.append(Fate(instead=(status, {}, body)))
        kind, said = client.refusal()
        assert named in said, f"{said!r} does not say {named}"
        mended(b, client, since, kind, said)
        b.expect_active(client.token())


def program(b):
    """The program beside the client: logs in once, then goes on from its file, and logs in again when it must."""
    file = b.folder / "program.json"
    issuer = f"http://127.0.0.1:{b.proxy.port}"
    given = {"ISSUER": issuer, "CLIENT_ID": "app", "FILE": str(file), "LOGIN": "alice", "PASSWORD": bed.PASSWORD}

    def run():
        command = [str(part) for part in b.program]
        done = subprocess.run(command, env=bed.environment(**given), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        return done.stdout.strip(), "logging in" in done.stderr

    def due():
        file.write_text(json.dumps(load(file) | {"renew_at": 0}))

    since = len(b.requests())
    first, logged_in = run()
    assert logged_in and b.latchkey.active(first) and file.stat().st_mode & 0o077 == 0, "others may read the tokens"
    assert run() == (first, False)
    b.expect_requests(since, 1)
    due()
    b.proxy.script.append(Fate(answer_lost=SILENT))
    second, logged_in = run()
    assert second != first and not logged_in and b.latchkey.active(second)
    _, lost, retry = b.requests(since)
    assert 4.5 <= retry.at - lost.at <= 7, f"waited {retry.at - lost.at:.1f} s for an answer, not 5"
    b.latchkey.form("/oauth2/revoke", "app", token=load(file)["refresh_token"])
    due()
    third, logged_in = run()
    assert logged_in and b.latchkey.active(third)
    assert len(b.requests(since)) == 5
    assert [path.name for path in file.parent.iterdir() if "program" in path.name] == [file.name], "left-over files"


# The program comes first: it has the machine's own clock, from which Latchkey's has not moved yet.
SCENARIOS = [
    program, one_for_all, again, overtaken, outage, killed, replayed, restored, idle, absolute, revoked, garbled,
    disabled, mistaken, hours,
]  # fmt: skip
