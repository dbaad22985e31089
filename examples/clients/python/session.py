"""A client of Latchkey that stays logged in. Copy this file: it needs Python 3.11 and nothing else.

    session = Session("https://id.example.com", "app", load("session.json"), save_to("session.json"))
    session.access_token()

gives a good access token to any thread, renewed when it is time: by one request, whose answer all share.
"""

import base64
import http.client
import json
import os
import random
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import Future

LOG_IN = {"reused_after_window", "idle_expired", "absolute_expired", "revoked", "unknown_session", "user_disabled"}
WINDOW = 60  # seconds in which Latchkey gives a lost answer again, so in which tries follow each other quickly


class LoginRequired(Exception):
    """The session is over; the text is the reason. Nothing but this asks for a new login."""


class Refused(Exception):
    """Refused for another reason: a mistake in the setup, or the client is disabled. The session is not lost."""


class Unavailable(Exception):
    """No answer yet, and no good token any more. The tries go on: ask again soon."""


class Session:
    """`tokens` are those of the login, or what was saved last. `save` gets new ones before anybody else does."""

    def __init__(self, issuer, client_id, tokens, save, client_secret=None, timeout=5, patience=15):
        self.issuer, self.client_id, self.client_secret = issuer, client_id, client_secret
        self.tokens, self.save, self.timeout, self.patience = tokens, save, timeout, patience
        self.post, self.now, self.sleep = post, time.time, time.sleep  # to be replaced in tests
        self._lock, self._renewal, self._not_before = threading.Lock(), None, 0

    def access_token(self, refused=None):
        """A good access token. `refused` is one that a service answered 401 to: it is renewed before its time."""
        with self._lock:
            if self.now() < self.tokens["renew_at"] and self.tokens["access_token"] != refused:
                return self.tokens["access_token"]
            if self._renewal is None or (self._renewal.done() and self.now() >= self._not_before):
                self._renewal = Future()
                threading.Thread(target=self._run, args=[self._renewal], daemon=True).start()
            renewal = self._renewal
        try:
            return renewal.result(self.patience)["access_token"]
        except TimeoutError:
            if self.now() < self.tokens["expires_at"]:
                return self.tokens["access_token"]  # this is why a renewal begins long before
            raise Unavailable(f"{self.issuer} does not answer") from None

    def _run(self, renewal):
        try:
            renewal.set_result(self._renew())
        except BaseException as error:
            renewal.set_exception(error)

    def _renew(self):
        began, tries = self.now(), 0
        while True:
            asked, tries = self.now(), tries + 1
            form = {"grant_type": "refresh_token", "refresh_token": self.tokens["refresh_token"]}
            status, headers, body = self.post(*request(self, form), self.timeout)
            if status == 200 and "access_token" in body:
                tokens = kept(body, asked, self.tokens)
                self.save(tokens)  # first: whoever has used new tokens must have them after a crash
                self.tokens = tokens
                return tokens
            if 400 <= status < 500 and status not in (408, 429):
                raise self._refusal(status, body)
            # No answer, or one that says nothing of the session: the same refresh token again, at once, then soon.
            pause = 0 if tries == 1 else min(2 ** (tries - 3), 2 if asked - began < WINDOW else 30)
            if headers.get("Retry-After", "").isdigit():  # not for long: an earlier answer may wait to be given again
                self.sleep(min(int(headers["Retry-After"]), WINDOW / 2))
            else:
                self.sleep(pause * random.uniform(0.5, 1))

    def _refusal(self, status, body):
        error, reason = body.get("error", f"status {status}"), body.get("reason")
        # Without a reason: a public client's token that is none of Latchkey's.
        if status == 400 and error == "invalid_grant" and (reason is None or reason in LOG_IN):
            self._not_before = float("inf")
            return LoginRequired(reason or "unknown_session")
        self._not_before = self.now() + WINDOW / 2  # asking in a loop mends nothing
        return Refused(f"{error}: {reason or body.get('error_description')}")


def kept(answer, asked, before=None):
    """What to keep of an answer that was asked for at `asked`, in Unix seconds."""
    return {
        "access_token": answer["access_token"],
        "refresh_token": answer.get("refresh_token") or before["refresh_token"],
        "renew_at": asked + answer["refresh_in"],
        "expires_at": asked + answer["expires_in"],
        "session_expires_at": answer["session_expires_at"],
    }


def request(client, form):
    """URL, form and headers that ask for tokens."""
    url = f"{client.issuer}/oauth2/token"
    if client.client_secret is None:
        return url, form | {"client_id": client.client_id}, {}
    pair = ":".join(urllib.parse.quote_plus(half) for half in (client.client_id, client.client_secret))
    return url, form, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def post(url, form, headers, timeout):
    """Status, headers and JSON object of the answer; status 0 where none came. `timeout` is for each wait on the socket."""
    asked = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers)
    try:
        try:
            answer = urllib.request.urlopen(asked, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            status, headers, text = answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, {}, {}
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return status, headers, body if isinstance(body, dict) else {}


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def save_to(path):
    """Replaces the file whole: a crash leaves the old tokens or the new ones."""

    def save(tokens):
        handle, name = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)))  # for its owner alone
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(tokens, file)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)

    return save
