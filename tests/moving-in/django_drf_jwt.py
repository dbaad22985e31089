"""drf-jwt: one token that renews itself while it is unexpired, for 7 days from `orig_iat`; the handlers are changed.

The order of time: logins at 0 d, the switch at 3 d, at 3 d 4 h the cut-off, and at 7 d the sessions of 0 d end.
"""

import datetime
import uuid

import answers
from django_switch import ALICE, GONE, LEAVER, OTHERS, SECRET, SLEEPERS, VICTIM, WORKERS, DjangoSwitch
from harness import as_json, bearer, read
from signing import hs256, unsigned
from switch import Client

HOUR, DAY = 3600, 86400
STEP = 4 * HOUR  # a token lives for 6
OBTAIN, REFRESH, VERIFY = "/api-token-auth/", "/api-token-refresh/", "/api-token-verify/"
FORGERIES = ("no username", "another secret", "HS512", "signature changed", "alg none")

SETTINGS = """
[[legacy_issuers]]
name = "drf-jwt"
algorithms = ["HS256"]
secret_file = "{secret}"
user_claim = "username"
user_by = "username"
started_claim = "orig_iat"
clients = ["web"]
cut_off = {cut_off}

[[claims]]
claim = "username"
attribute = "username"

[[claims]]
claim = "user_id"
attribute = "external_id"
as = "integer"

[[claims]]
claim = "orig_iat"
attribute = "session.started_at"

[[claims]]
claim = "email"
attribute = "email"

[[claims]]
claim = "is_staff"
attribute = "attributes.is_staff"

[[claims]]
claim = "name"
template = "{{given_name}} {{family_name}}"

[[claims]]
claim = "tenant"
value = "forum"

[[compat]]
style = "drf-jwt"
client_id = "web"
obtain = "/api-token-auth/"
refresh = "/api-token-refresh/"
verify = "/api-token-verify/"
response.token = "{{token}}"
response.user = {{ id = "{{external_id as integer}}", username = "{{username}}", email = "{{email}}" }}
"""

CLIENTS = [
    {
        "client_id": "web",
        "token_endpoint_auth_method": "none",
        "grant_types": ["password", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "scope": "forum",
        "audience": ["https://forum.example.com"],
        "lifetimes": {"access_ttl": "6h", "refresh_absolute": "7d"},
    }
]


class Web(Client):
    """Renews its token before it expires, until a week after the login."""

    logins = 0

    def login(self):
        body = {"username": self.user["username"], "password": self.user["password"]}
        self.token = self.renewed("POST", OBTAIN, **as_json(body))["token"]
        self.logins += 1
        self.began = read(self.token)[1]["orig_iat"]

    def headers(self):
        return bearer(self.token, "JWT")

    def due(self):
        return read(self.token)[1]["exp"] - self.switch.clock.now() < STEP + HOUR / 4

    def renew(self):
        if self.switch.clock.now() > self.began + 7 * DAY:
            return self.login()
        self.token = self.renewed("POST", REFRESH, **as_json({"token": self.token}))["token"]


def forged(token, now):
    """A token of the original, spoilt in each way."""
    claims = read(token)[1]

    def spoilt(leave=None, **more):
        return {k: v for k, v in claims.items() if k != leave} | {"jti": str(uuid.uuid4())} | more

    return {
        "no orig_iat": hs256(spoilt("orig_iat"), SECRET),
        "orig_iat beyond the delta": hs256(spoilt(orig_iat=int(now) - 7 * DAY - 60), SECRET),
        "no username": hs256(spoilt("username"), SECRET),
        "another secret": hs256(spoilt(), SECRET[::-1]),
        "HS512": hs256(spoilt(), SECRET, "HS512"),
        "signature changed": token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        "alg none": unsigned(spoilt()),
    }


def asked():
    ended = ["expired", "user inactive since", "user deleted since"]
    return {
        "obtain": answers.login(OBTAIN, ALICE),
        "refresh": answers.token(
            REFRESH, "token", ["good", *ended, "no orig_iat", "orig_iat beyond the delta", *FORGERIES]
        ),
        "verify": answers.token(VERIFY, "token", ["good", *ended, *FORGERIES]),
    }


def obtain(side, user):
    answer = side.ask("POST", OBTAIN, **as_json({"username": user["username"], "password": user["password"]}))
    assert answer.status == 201, f"login of {user['username']}: {answer}"
    return answer.json()["token"]


def record(project, clock):
    """The original's answers."""
    ended = {"expired": obtain(project, ALICE)}
    clock.set(6 * HOUR + 60)
    ended |= {"user inactive since": obtain(project, LEAVER), "user deleted since": obtain(project, GONE)}
    project.rows("UPDATE auth_user SET is_active = 0 WHERE username = ?", LEAVER["username"])
    project.rows("DELETE FROM auth_user WHERE username = ?", GONE["username"])
    heard = {}
    for title, cases in asked().items():
        tokens = ended | live(project, obtain(project, ALICE), clock)
        heard[title] = {name: answers.shape(answers.send(project, case, tokens)) for name, case in cases.items()}
    return heard


def live(side, sample, clock):
    return forged(sample, clock.now()) | {"good": obtain(side, ALICE), "good, again": obtain(side, ALICE)}


def status_alone(shape):
    return shape["status"]


def without_words(shape):
    return shape["status"], list(shape["body"])


# The text about JSON is CPython's; forgeries with the right secret are not told apart; and disabling or deleting a user
# ends the sessions, so that their tokens are as good as revoked (docs/compat.md).
DIFFERENT = {"malformed JSON": status_alone, "not UTF-8": status_alone}
DIFFERENT |= {case: without_words for case in ("no username", "no orig_iat", "HS512", "alg none")}
DIFFERENT |= {f"user {end} since": without_words for end in ("inactive", "deleted")}


class DrfJwt(DjangoSwitch):
    name = "django-drf-jwt"

    def before(self):
        self.heard = self.original(record)
        self.web = [Web(self, f"web client of {user['username']}", user) for user in WORKERS]
        self.everyone = [*OTHERS, *WORKERS, *SLEEPERS]
        self.begin(self.everyone)
        self.employ(*self.web)
        while self.clock.now() < self.began + 3 * DAY - 6 * HOUR:
            self.advance(STEP)
        self.late = self.expired = obtain(self.door, WORKERS[0])
        while self.clock.now() < self.began + 3 * DAY - HOUR:
            self.advance(HOUR)
        self.nobody_lost("before the switch")
        for client in self.web:
            self.check(client.renewals >= 12, f"{client.label} renewed {client.renewals} times in three days")
        self.stolen, self.stolen_too = obtain(self.door, VICTIM), obtain(self.door, VICTIM)
        self.slow = obtain(self.door, WORKERS[2])
        self.verified = self.verify(self.slow)

    def move(self):
        self.cut_off = int(self.clock.now()) + 5 * HOUR
        cut_off = datetime.datetime.fromtimestamp(self.cut_off, datetime.UTC).isoformat()
        self.install(SETTINGS.format(secret=self.place / "django.secret", cut_off=cut_off), CLIENTS)
        self.import_users(self.everyone)
        self.redeploy()
        with self.gate.held():
            self.legacy = {client: read(client.token)[1] for client in self.web}
            access = self.web[0].token
            self.door.lose(REFRESH)
            for path in (OBTAIN, REFRESH, VERIFY):
                self.door.move(path, self.latchkey.port)
        self.settle()
        self.equal(self.me(access), 200, "an old token, after the switch")
        for _ in range(2):
            self.equal(self.verify(self.slow), self.verified, "an old token verified, after the switch")
        self.until(self.clock.now() + HOUR)

    def after(self):
        self.passwords([*SLEEPERS, *WORKERS], OBTAIN, 201, lambda answer: read(answer.json()["token"])[1])
        self.thief()
        self.until(read(self.late)[1]["exp"] + 1)
        self.refused(self.refresh(self.late), 400, "a token after its exp", non_field_errors=["Token has expired."])
        self.equal(self.me(self.late), 401, "an old token at the API, after its exp")
        self.compare()
        while self.clock.now() < self.cut_off - HOUR:
            self.advance(HOUR)
        self.everyone_moved()
        self.until(self.cut_off + 60)
        assert read(self.slow)[1]["exp"] > self.clock.now(), "the token of the last hour has ended before the cut-off"
        with self.audited("legacy_refused", "a token after the cut-off"):
            self.refused_here(self.refresh(self.slow), "a token after the cut-off")
        self.not_exchanged("web", self.slow, "a token after the cut-off", "cut_off")
        self.equal(self.verify(self.slow)[0], 400, "a token verified after the cut-off")
        # One was deleted, and two never came.
        self.report_says(users=len(self.everyone) - 1, moved=len(self.everyone) - 3, **{"drf-jwt": (5, 4)})
        while self.clock.now() < self.began + 7 * DAY - STEP:
            self.advance(STEP)
        self.until(self.began + 7 * DAY - 60)
        for client in self.web:
            self.equal(client.logins, 1, f"logins of {client.label} within the delta")
        newest = self.web[0].token
        self.until(self.began + 7 * DAY + 120)
        for client in self.web:
            self.equal(client.logins, 2, f"logins of {client.label} after the delta")
        self.check(read(newest)[1]["exp"] <= self.began + 7 * DAY + 120, "a token outlives the refresh delta")
        answer = self.refresh(newest)
        self.refused(answer, 400, "a refresh after the delta", non_field_errors=["Refresh has expired."])

    def refresh(self, token):
        return self.door.ask("POST", REFRESH, **as_json({"token": token}))

    def verify(self, token):
        answer = self.door.ask("POST", VERIFY, **as_json({"token": token}))
        return answer.status, answer.json()

    def me(self, token):
        return self.door.ask("GET", "/api/me", headers=bearer(token, "JWT")).status

    def everyone_moved(self):
        """The payload is what the project's own handler made."""
        self.check(sum(client.retries for client in self.clients), "no client met the lost answer")
        for client, legacy in self.legacy.items():
            header, claims = read(client.token)
            self.equal(header["typ"], "at+jwt", f"typ of the token of {client.label}")
            for name in legacy.keys() - {"exp", "iat", "jti", "orig_jti"}:
                self.equal(claims.get(name), legacy[name], f"{name} of {client.label}")

    def thief(self):
        """A copy of a legacy token, used after its owner's client: at the old path and at the token endpoint."""
        for token, used in ((self.stolen, True), (self.stolen_too, False)):
            answer = self.refresh(token)
            self.equal(answer.status, 201, "the owner's exchange")
            if used:
                answer = self.refresh(answer.json()["token"])
                self.equal(answer.status, 201, "the owner's next refresh")
            else:
                self.advance(61)
            self.equal(self.verify(token)[0], 400, "a stolen token verified")
            with self.audited("legacy_replayed", "a stolen token"):
                self.refused_here(self.refresh(token), "a stolen token")
            self.not_exchanged("web", token, "a stolen token", "reused_after_window")
            self.refused_here(self.refresh(answer.json()["token"]), "the owner's token after the theft")

    def refused_here(self, answer, what):
        refused = answer.status == 400 and list(answer.json()) == ["non_field_errors"]
        self.check(refused, f"{what}: {answer}")

    def compare(self):
        """The original's answers against Latchkey's."""
        tokens = {"expired": self.expired}
        tokens |= {"user inactive since": obtain(self.door, LEAVER), "user deleted since": obtain(self.door, GONE)}
        self.disable(LEAVER)
        self.latchkey.admin("DELETE", f"/users/{self.sub(GONE)}")
        now = int(self.clock.now())
        sample = read(self.slow)[1] | {"username": ALICE["username"], "exp": now + HOUR, "orig_iat": now}
        for title, cases in asked().items():
            ready = tokens | live(self.door, hs256(sample, SECRET), self.clock)
            self.same_answers(title, cases, self.heard[title], ready, DIFFERENT)
