#!/usr/bin/env python3
"""Runs OpenID Connect clients of five languages against a Latchkey: each library as it is published, in an application
as its documentation shows one, told no more than the issuer and its own registration.

A scripted browser signs in through the pages. Each application is to log the user in, ask userinfo, refresh, and log
out; and to refuse another nonce, another state, a tampered ID token (refreshed or not), another client's tokens and
another issuer: so it is seen that what it takes it has checked. The address of the issuer is a door in front of
Latchkey that sees how the applications authenticate, and tells the lies (front.py).

`--tools` is where ./check has installed and built them. `--self-test` runs an application that checks nothing, and
succeeds when everything that it lets pass is noticed.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import secrets
import sys
import tempfile
import time
import urllib.parse

from parties import CARELESS, SCOPE, every

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[1:1] = [str(ROOT / "tests/moving-in"), str(ROOT / "tests/services")]

import harness  # noqa: E402
from browser import Browser  # noqa: E402
from front import Front, tampered  # noqa: E402
from harness import Process, environment, free_port, read  # noqa: E402
from p256 import Key, b64  # noqa: E402

PASSWORD = {"username": "alice", "password": "down-the-rabbit-hole"}
CLAIMS = {"name": "Alice Liddell", "email": "alice@example.com", "email_verified": True}
DOCUMENTS = ("/.well-known/openid-configuration", "/.well-known/jwks.json")
# Where another client gets its answers: nothing listens there, the browser stops before it.
ELSEWHERE = "http://127.0.0.1:9/elsewhere"


class Latchkey(harness.Latchkey):
    """Known by the address of the door in front of it, and with its time as it is."""

    def __init__(self, binary, folder, front):
        issuer = f"http://127.0.0.1:{front.port}"
        super().__init__(binary, folder, None, f'[server]\nissuer = "{issuer}"\n', [])
        self.issuer = issuer
        front.move("/", self.port)
        self.admin("POST", "/users", PASSWORD | CLAIMS)
        code_flow = {"grant_types": ["authorization_code"], "redirect_uris": [ELSEWHERE], "scope": SCOPE}
        self.admin("POST", "/clients", code_flow | {"client_id": "elsewhere", "token_endpoint_auth_method": "none"})

    def serve(self, port, _clock):
        self.start([self.binary, "serve"], self.folder, self.folder / "log", self.env, port)
        self.answers("/health/ready", 200)


class App(Process):
    def __init__(self, party, latchkey, front, folder):
        self.party, self.latchkey, self.front, self.folder = party, latchkey, front, folder
        self.faults, self.done, self.refusals = [], set(), []
        self.browser, self.asked_before = Browser(**PASSWORD), front.asked.copy()
        port = free_port()
        self.here = f"http://127.0.0.1:{port}"
        self.given = self.registered(port) | {"SCOPE": party.scope, "CLIENT_ID": party.name}
        self.run(latchkey.issuer, port)

    def registered(self, port):
        """Registers it. What it is told of that."""
        party, given = self.party, {}
        body = {
            "client_id": party.name,
            "client_name": f"The {party.name} application",
            "token_endpoint_auth_method": party.method,
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [party.redirect_uri(port)],
            "post_logout_redirect_uris": [f"http://127.0.0.1:{port}/bye"],
            "scope": party.scope,
        }
        if party.method == "private_key_jwt":
            key, pem = Key(), self.folder / f"{party.name}.pem"
            pem.write_text(key.private_pem())
            given["CLIENT_KEY"] = str(pem)
            x, y = b64(key.point[1:33]), b64(key.point[33:])
            body["jwks"] = {"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]}
        made = self.latchkey.admin("POST", "/clients", body | party.register)
        return given | ({"CLIENT_SECRET": made["client_secret"]} if "client_secret" in made else {})

    def run(self, issuer, port):
        env = environment(**self.given, ISSUER=issuer, PORT=str(port), no_proxy="127.0.0.1,localhost")
        self.start(self.party.command, self.folder, self.folder / f"{self.party.name}.log", env, port)

    def walk(self):
        """All that it is to do and to refuse."""
        self.up()
        claims = self.logs_in(["sign-in", "allow"])
        self.asks_userinfo(claims)
        self.done.add("logs in")
        self.refreshes(claims)
        self.asks_userinfo(claims)
        self.done.add("refreshes")
        self.refuses()
        # Whoever is signed in and has allowed it is asked nothing, unless any program could be the client (RFC 8252
        # section 8.6).
        claims = self.logs_in(["allow"] if self.party.method == "none" else [])
        self.logs_out(claims)
        self.done.add("logs out")
        self.refuses_issuer()

    def up(self):
        self.wait_until(lambda: self.ask("GET", "/nothing"))

    # What it is to do.

    def logs_in(self, pages):
        party = self.party
        page, shown = self.browser.go(self.here + party.login)
        claims = self.claims(page)
        self.expect(shown == pages, f"the pages are {shown}, not {pages}")
        for path in DOCUMENTS:
            self.expect(self.front.asked[path] > self.asked_before[path], f"it never asks for {path}")
        by = "POST" if party.mode == "form_post" else "GET"
        self.expect(page.method == by, f"the response comes by {page.method}, not {by}")
        methods = self.front.methods[party.name]
        self.expect(methods == {party.method}, f"it authenticates by {methods}")
        algorithm = read(self.front.answers[party.name]["id_token"])[0]["alg"]
        self.expect(algorithm == party.algorithm, f"the ID token is signed with {algorithm}")
        self.expect(claims["iss"] == self.latchkey.issuer, f"the ID token is of {claims['iss']}")
        self.expect(claims["aud"] in (party.name, [party.name]), f"the ID token is for {claims['aud']}")
        self.expect("nonce" in claims, "the ID token has no nonce")
        return claims

    def asks_userinfo(self, claims):
        told = json.loads(self.good("/userinfo").text)["claims"]
        wanted = CLAIMS | {"sub": claims["sub"]}
        self.expect(wanted.items() <= told.items(), f"userinfo tells {told}, not {wanted}")

    def refreshes(self, claims):
        before = self.front.answers[self.party.name]
        renewed = self.claims(self.good("/refresh"))
        after = self.front.answers[self.party.name]
        for name in ("access_token", "refresh_token", "id_token"):
            self.expect(before[name] != after[name], f"the {name} is the same after a refresh")
        for name in ("iss", "sub", "aud", "sid", "auth_time"):
            self.expect(renewed[name] == claims[name], f"after a refresh {name} is {renewed[name]}, not {claims[name]}")
        self.expect("nonce" not in renewed, "the ID token of a refresh has a nonce")

    def logs_out(self, claims):
        page, shown = self.browser.go(f"{self.here}/logout")
        self.expect(page.url.startswith(f"{self.here}/bye") and '"bye"' in page.text, f"the logout leads to {page}")
        self.expect(shown == [], f"the logout asks {shown}, though the ID token tells who it is")
        session = self.latchkey.admin("GET", f"/sessions/{claims['sid']}")
        # What was granted for when the user is away stays (OpenID Connect Core section 11).
        wanted = ("active", None) if "offline_access" in self.party.scope else ("ended", "logged_out")
        found = session["state"], session.get("end_reason")
        self.expect(found == wanted, f"after the logout the session is {found}, not {wanted}")
        _, shown = self.browser.go(self.here + self.party.login)
        self.expect(shown[:1] == ["sign-in"], f"a login after the logout asks {shown}")

    # What it is to refuse.

    def refuses(self):
        self.changed("nonce", "/oauth2/authorize")
        self.changed("state", self.party.callback)
        self.front.lie = tampered
        self.refused("signature", self.login())
        self.refused("signature", self.browser.open(f"{self.here}/refresh"))
        # The answer to another client, for the same user and nonce: all in it is good, elsewhere.
        start = self.browser.open(self.here + self.party.login, until=self.latchkey.issuer).location
        stolen = self.elsewhere(query(start)["nonce"])
        self.front.lie = lambda _: stolen
        self.refused("audience", self.browser.go(start)[0])
        self.front.lie = None

    def login(self):
        return self.browser.go(self.here + self.party.login)[0]

    def changed(self, what, path):
        """The parameter is another when it comes there."""
        self.browser.changes = path, what, "another"
        self.refused(what, self.login())
        self.browser.changes = None

    def refuses_issuer(self):
        """By another name the same Latchkey is another's: its documents say so. Not to start is a refusal too."""
        self.stop()
        already = self.log.stat().st_size
        self.run(self.latchkey.issuer.replace("127.0.0.1", "localhost"), self.port)
        try:
            self.up()
        except AssertionError:
            assert self.process.poll(), "it neither serves nor fails"
            self.told("issuer", self.log.read_bytes()[already:].decode(errors="replace"))
        else:
            self.refused("issuer", self.login())

    def refused(self, what, page):
        if page.status == 200:
            self.expect(False, f"it takes another {what}")
            return
        try:
            why = json.loads(page.text)["refused"]
        except (ValueError, KeyError):
            why = page.text
        self.told(what, why if page.status == 401 else f"{page.status} {why}")

    def told(self, what, why):
        word = getattr(self.party.words, what)
        self.expect(word in why, f"it refuses another {what}, but not for {word!r}: {why[:1000]}")
        self.refusals += [what] if what not in self.refusals else []

    def elsewhere(self, nonce):
        """The tokens of a login at another client."""
        verifier = secrets.token_urlsafe(43)
        challenge = b64(hashlib.sha256(verifier.encode()).digest())
        asked = {"client_id": "elsewhere", "response_type": "code", "redirect_uri": ELSEWHERE, "scope": SCOPE}
        asked |= {"nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256"}
        url = f"{self.latchkey.issuer}/oauth2/authorize?{urllib.parse.urlencode(asked)}"
        code = query(self.browser.go(url, until=ELSEWHERE)[0].location)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": ELSEWHERE, "code_verifier": verifier}
        answer = self.latchkey.token("elsewhere", **form)
        assert answer.status == 200, answer
        return answer.json()

    # Words for it.

    def expect(self, holds, fault):
        if not holds and fault not in self.faults:
            self.faults.append(fault)

    def good(self, path):
        page = self.browser.open(self.here + path)
        assert page.status == 200, page
        return page

    def claims(self, page):
        """Of the ID token that it took."""
        assert page.status == 200 and page.url.startswith(self.here), page
        said = json.loads(page.text)
        return said.get("claims") or read(said["id_token"])[1]


def query(url):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def report(apps, seconds):
    steps = ("logs in", "refreshes", "logs out")
    heads = "".join(f"{step:<11}" for step in steps)
    print(f"\n      {'client':<15}{'authenticates by':<21}{'response':<11}{heads}refuses another")
    for app in apps:
        party, did = app.party, "".join(f"{'yes' if step in app.done else '-':<11}" for step in steps)
        start = f"{'FAIL' if app.faults else 'ok':<6}{party.name:<15}{party.method:<21}{party.mode:<11}"
        print(f"{start}{did}{', '.join(app.refusals)}")
    for app in apps:
        for fault in app.faults:
            print(f"      {app.party.name}: {fault}")
        if app.faults:
            print("\n".join(f"      | {line}" for line in app.tail().splitlines()[-8:]))
    print(f"took {seconds:.0f} s", flush=True)


def run(parties, binary):
    apps, started = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="latchkey-relying.") as place:
        place, front = pathlib.Path(place), Front(None)
        latchkey = Latchkey(binary, place / "latchkey", front)
        try:
            for party in parties:
                front.lie = None
                apps.append(App(party, latchkey, front, place))
                try:
                    apps[-1].walk()
                except (AssertionError, KeyError, ValueError, OSError) as error:
                    apps[-1].faults.append(f"{type(error).__name__}: {error}")
                finally:
                    apps[-1].stop()
            report(apps, time.monotonic() - started)
        finally:
            latchkey.stop()
            front.stop()
    return apps


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/relying-parties")
    arguments.add_argument("--only", help="clients, separated by commas")
    arguments.add_argument("--self-test", action="store_true", help="run an application that checks nothing")
    args = arguments.parse_args()
    binary = args.binary.resolve()
    if args.self_test:
        expected = {f"it never asks for {DOCUMENTS[1]}"}
        expected |= {f"it takes another {field.name}" for field in dataclasses.fields(CARELESS.words)}
        found = set(run([CARELESS], binary)[0].faults)
        print("all that it lets pass was noticed" if found == expected else f"not as expected: {found ^ expected}")
        sys.exit(0 if found == expected else 1)
    parties = every(args.tools.resolve())
    names = {party.name for party in parties}
    only = set(args.only.split(",")) if args.only is not None else names
    assert only and only <= names, f"--only takes {', '.join(sorted(names))}"
    sys.exit(1 if any(app.faults for app in run([it for it in parties if it.name in only], binary)) else 0)


if __name__ == "__main__":
    main()
