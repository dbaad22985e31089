"""djangorestframework-simplejwt: pairs that rotate, devices that cannot store a new refresh token, sliding tokens.

The order of time: logins at 0:00, the switch at 0:30, a laptop that slept through it comes back at 20:00, the legacy
tokens of 0:00 end at 24:00 by their own `exp`, and the cut-off at 24:20 ends those that would have lived until 24:30.
"""

import datetime
import uuid

import answers
from django_switch import ALICE, LEAVER, OTHERS, SECRET, SLEEPERS, VICTIM, WORKERS, DjangoSwitch, person
from harness import as_json, bearer, instant, read
from signing import hs256, unsigned
from switch import Client

HOUR, DAY = 3600, 86400
STEP = 140  # seconds: less than an access token lives, so that each renewal is asked for by a 401
PAIR, REFRESH, VERIFY, BLACKLIST = "/api/token/", "/api/token/refresh/", "/api/token/verify/", "/api/token/blacklist/"
DEVICE, DEVICE_REFRESH = "/api/device/token/", "/api/device/token/refresh/"
SLIDING, SLIDING_REFRESH = "/api/sliding/", "/api/sliding/refresh/"
MOVED = (PAIR, REFRESH, VERIFY, BLACKLIST, DEVICE, DEVICE_REFRESH, SLIDING, SLIDING_REFRESH)
FORGERIES = ("no exp", "another secret", "signature changed", "alg none")

SETTINGS = """
[[legacy_issuers]]
name = "django"
algorithms = ["HS256"]
secret_file = "{secret}"
user_claim = "user_id"
user_by = "external_id"
require = {{ token_type = "refresh" }}
clients = ["web", "device"]
cut_off = {cut_off}
denied_file = "{denied}"

[[legacy_issuers]]
name = "django-sliding"
algorithms = ["HS256"]
secret_file = "{secret}"
user_claim = "user_id"
user_by = "external_id"
require = {{ token_type = "sliding" }}
ends_claim = "refresh_exp"
clients = ["sliding"]
cut_off = {cut_off}
denied_file = "{denied}"

[[claims]]
claim = "user_id"
attribute = "external_id"

[[compat]]
style = "simplejwt"
client_id = "web"
obtain = "/api/token/"
refresh = "/api/token/refresh/"
verify = "/api/token/verify/"
blacklist = "/api/token/blacklist/"

[[compat]]
style = "simplejwt"
client_id = "device"
obtain = "/api/device/token/"
refresh = "/api/device/token/refresh/"

[[compat]]
style = "simplejwt"
client_id = "sliding"
sliding_obtain = "/api/sliding/"
sliding_refresh = "/api/sliding/refresh/"
"""

PUBLIC = {
    "token_endpoint_auth_method": "none",
    "grant_types": ["password", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"],
    "scope": "shop",
    "audience": ["https://shop.example.com"],
}
CLIENTS = [
    PUBLIC | {"client_id": "web", "lifetimes": {"access_ttl": "5m", "refresh_idle": "1d"}},
    PUBLIC
    | {
        "client_id": "device",
        "rotate_refresh": False,
        "lifetimes": {"access_ttl": "5m", "refresh_idle": "1d", "refresh_retry_window": "1d"},
    },
    PUBLIC | {"client_id": "sliding", "lifetimes": {"access_ttl": "6h", "refresh_absolute": "1d"}},
]


class Web(Client):
    """Keeps the pair, and stores a new refresh token when it is given one."""

    obtain, refresh_at = PAIR, REFRESH

    def login(self):
        body = {"username": self.user["username"], "password": self.user["password"]}
        pair = self.renewed("POST", self.obtain, **as_json(body))
        self.access, self.refresh = pair["access"], pair["refresh"]

    def headers(self):
        return bearer(self.access)

    def renew(self):
        pair = self.renewed("POST", self.refresh_at, **as_json({"refresh": self.refresh}))
        self.access, self.refresh = pair["access"], pair.get("refresh", self.refresh)


class Device(Web):
    """Stores no new refresh token, and logs in again when its own ends."""

    obtain, refresh_at = DEVICE, DEVICE_REFRESH

    logins = 0

    def login(self):
        super().login()
        self.logins += 1
        self.ends = self.switch.clock.now() + DAY

    def renew(self):
        if self.switch.clock.now() >= self.ends:
            return self.login()
        self.access = self.renewed("POST", self.refresh_at, **as_json({"refresh": self.refresh}))["access"]


class Sliding(Client):
    """Renews its one token before it expires, until the day is over."""

    def login(self):
        body = {"username": self.user["username"], "password": self.user["password"]}
        self.token = self.renewed("POST", SLIDING, **as_json(body))["token"]
        self.ends = self.switch.clock.now() + DAY

    def headers(self):
        return bearer(self.token)

    def due(self):
        return read(self.token)[1]["exp"] - self.switch.clock.now() < 5.8 * HOUR

    def renew(self):
        if self.switch.clock.now() >= min(self.ends, read(self.token)[1]["exp"]):
            return self.login()
        self.token = self.renewed("POST", SLIDING_REFRESH, **as_json({"token": self.token}))["token"]


def forged(token):
    """A token of the original, spoilt in each way."""
    claims = read(token)[1]

    def without(name):
        return hs256({k: v for k, v in claims.items() if k != name} | fresh(), SECRET)

    def fresh():
        return {"jti": uuid.uuid4().hex}

    return {
        "no exp": without("exp"),
        "no token_type": without("token_type"),
        "another secret": hs256(claims | fresh(), SECRET[::-1]),
        "signature changed": token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        "alg none": unsigned(claims | fresh()),
    }


def asked():
    """What is asked at each endpoint, with the states that its tokens are in."""
    ended = ["rotated already", "blacklisted", "expired", "user inactive since"]
    return {
        "obtain": answers.login(PAIR, ALICE),
        "refresh": answers.token(REFRESH, "refresh", ["good", "access", *ended, "no token_type", *FORGERIES]),
        "refresh without rotation": {"good": answers.post(DEVICE_REFRESH, {"refresh": answers.Token("device")})},
        "verify": answers.token(VERIFY, "token", ["good", "access", "blacklisted", "expired", *FORGERIES]),
        "blacklist": answers.token(BLACKLIST, "refresh", ["to blacklist", "access", "blacklisted", "expired"]),
        "sliding obtain": answers.login(SLIDING, ALICE),
        "sliding refresh": answers.token(
            SLIDING_REFRESH, "token", ["sliding", "sliding expired", "access", "good", "signature changed"]
        ),
    }


def pair(side, user, path=PAIR):
    answer = side.ask("POST", path, **as_json({"username": user["username"], "password": user["password"]}))
    assert answer.status == 200, f"login of {user['username']} at {path}: {answer}"
    return answer.json()


def dead(side, disable):
    """Tokens that have come to an end."""
    made = {}
    for name, path in (("rotated already", REFRESH), ("blacklisted", BLACKLIST)):
        made[name] = pair(side, ALICE)["refresh"]
        answer = side.ask("POST", path, **as_json({"refresh": made[name]}))
        assert answer.status == 200, f"{path}: {answer}"
    made["user inactive since"] = pair(side, LEAVER)["refresh"]
    disable(LEAVER)
    return made


def live(side, sample):
    """Tokens that are good, once each, and `sample` spoilt."""
    made = pair(side, ALICE)
    return forged(sample) | {
        "good": made["refresh"],
        "access": made["access"],
        "good, again": pair(side, ALICE)["refresh"],
        "device": pair(side, ALICE, DEVICE)["refresh"],
        "sliding": pair(side, ALICE, SLIDING)["token"],
        "sliding, again": pair(side, ALICE, SLIDING)["token"],
        "to blacklist": pair(side, ALICE)["refresh"],
        "to blacklist, again": pair(side, ALICE)["refresh"],
    }


def record(project, clock):
    """The original's answers."""

    def disable(user):
        project.rows("UPDATE auth_user SET is_active = 0 WHERE username = ?", user["username"])

    ended = {"expired": pair(project, ALICE)["refresh"], "sliding expired": pair(project, ALICE, SLIDING)["token"]}
    clock.set(DAY + 60)
    ended |= dead(project, disable)
    heard = {}
    for title, cases in asked().items():
        tokens = ended | live(project, pair(project, ALICE)["refresh"])
        heard[title] = {name: answers.shape(answers.send(project, case, tokens)) for name, case in cases.items()}
    return heard


def status_alone(shape):
    return shape["status"]


def without_words(shape):
    return shape["status"], shape["body"].get("code")


# The text about JSON is CPython's; forgeries with the right secret are not told apart; and `access` is another client's
# where Latchkey slides (docs/compat.md).
DIFFERENT = {"malformed JSON": status_alone, "not UTF-8": status_alone}
DIFFERENT |= {case: without_words for case in (("sliding refresh", "access"), "no exp", "no token_type")}


class SimpleJwt(DjangoSwitch):
    name = "django-simplejwt"

    def before(self):
        self.heard = self.original(record)
        self.web = [Web(self, f"web client of {user['username']}", user) for user in WORKERS]
        self.device = Device(self, "device", person("device-user"))
        self.slider = Sliding(self, "sliding client", person("sliding-user"))
        self.everyone = [*OTHERS, *WORKERS, *SLEEPERS, self.device.user, self.slider.user]
        self.begin(self.everyone)
        # Of the logins of the first hour some are taken up again much later.
        self.laptop, self.late = pair(self.door, WORKERS[0]), pair(self.door, WORKERS[1])
        self.ended = {
            "expired": pair(self.door, ALICE)["refresh"],
            "sliding expired": pair(self.door, ALICE, SLIDING)["token"],
        }
        self.employ(*self.web, self.device, self.slider)
        while self.clock.now() < self.began + HOUR / 2:
            self.advance(STEP)
        self.nobody_lost("before the switch")
        self.check(read(self.slider.token)[1]["iat"] > self.began + HOUR / 4, "the sliding token has not slid")
        for client in self.web:
            self.check(client.renewals >= 4, f"{client.label} renewed {client.renewals} times in half an hour")
        self.stolen, self.stolen_too = pair(self.door, VICTIM)["refresh"], pair(self.door, VICTIM)["refresh"]
        self.logged_out = pair(self.door, VICTIM)["refresh"]
        answer = self.door.ask("POST", BLACKLIST, **as_json({"refresh": self.logged_out}))
        self.equal(answer.status, 200, "logout before the switch")
        self.slow = pair(self.door, WORKERS[2])["refresh"]
        self.verified = self.verify(self.slow)

    def move(self):
        self.cut_off = int(self.began) + DAY + HOUR // 3
        settings = SETTINGS.format(
            secret=self.place / "django.secret",
            denied=self.place / "denied",
            cut_off=datetime.datetime.fromtimestamp(self.cut_off, datetime.UTC).isoformat(),
        )
        self.deny()
        self.install(settings, CLIENTS)
        self.import_users(self.everyone)
        self.newcomer = person("newcomer")  # between the first import and the switch
        self.old.seed([self.newcomer])
        self.everyone.append(self.newcomer)
        self.import_users(self.everyone)
        self.redeploy()
        self.logged_out_late = pair(self.door, VICTIM)["refresh"]
        answer = self.door.ask("POST", BLACKLIST, **as_json({"refresh": self.logged_out_late}))
        self.equal(answer.status, 200, "logout just before the switch")
        with self.gate.held():
            self.deny()  # as it is at this moment; Latchkey reads it when it starts
            self.latchkey.restart(self.clock)
            self.legacy = {client: client.refresh for client in self.web}
            access = self.web[0].access
            self.door.lose(REFRESH)
            for path in MOVED:
                self.door.move(path, self.latchkey.port)
        self.settle()
        answer = self.door.ask("GET", "/api/me", headers=bearer(access))
        self.equal(answer.status, 200, "an old access token, after the switch")
        for _ in range(2):
            self.equal(self.verify(self.slow), self.verified, "an old refresh token verified, after the switch")
        self.until(read(access)[1]["exp"] + 5)
        answer = self.door.ask("GET", "/api/me", headers=bearer(access))
        self.equal(answer.status, 401, "an old access token, after its exp")

    def deny(self):
        """What the original's blacklist holds and Latchkey has to know."""
        rows = self.old.rows(
            "SELECT jti FROM token_blacklist_outstandingtoken o"
            " JOIN token_blacklist_blacklistedtoken b ON b.token_id = o.id"
        )
        new = self.place / "denied.new"
        new.write_text("".join(f"{jti}\n" for (jti,) in rows))
        new.replace(self.place / "denied")

    def after(self):
        self.everyone_moved()
        self.passwords([*SLEEPERS, *WORKERS, self.newcomer], PAIR, 200, lambda answer: read(answer.json()["access"])[1])
        self.thief()
        idle, idle_since = pair(self.door, ALICE)["refresh"], self.clock.now()
        while self.clock.now() < self.began + 20 * HOUR:
            self.advance(4 * HOUR)
        answer = self.refresh(self.laptop["refresh"])
        self.equal(answer.status, 200, "a laptop that slept through the switch")
        self.until(read(self.late["refresh"])[1]["exp"] - 120)
        self.equal(self.device.logins, 1, "logins of the device until its refresh token ends")
        sliding = self.slider.token
        self.until(self.began + DAY + 400)
        answer = self.refresh(self.late["refresh"])
        self.refused(answer, 401, "a refresh token after its exp", detail="Token is expired", code="token_not_valid")
        self.equal(self.device.logins, 2, "logins of the device after its refresh token ended")
        answer = self.door.ask("POST", SLIDING_REFRESH, **as_json({"token": sliding}))
        self.refused(answer, 401, "a sliding token after refresh_exp", code="token_not_valid")
        self.compare()
        self.until(self.cut_off + 60)
        assert read(self.slow)[1]["exp"] > self.clock.now(), "the token of the last hour has ended before the cut-off"
        with self.audited("legacy_refused", "a refresh token after the cut-off"):
            self.refused(self.refresh(self.slow), 401, "a refresh token after the cut-off", code="token_not_valid")
        self.not_exchanged("web", self.slow, "a refresh token after the cut-off", "cut_off")
        self.equal(self.verify(self.slow)[0], 401, "a refresh token verified after the cut-off")
        # Left are the three who never came. One user had two tokens exchanged, the victim two and both stolen.
        issuers = {"django": (7, 5), "django-sliding": (1, 1)}
        self.report_says(users=len(self.everyone), moved=len(self.everyone) - 3, **issuers)
        self.until(idle_since + DAY + 60)
        self.refused(self.refresh(idle), 401, "a session unused for a day", code="token_not_valid")
        for _ in range(3):
            self.advance(STEP)

    def refresh(self, token):
        return self.door.ask("POST", REFRESH, **as_json({"refresh": token}))

    def verify(self, token):
        answer = self.door.ask("POST", VERIFY, **as_json({"token": token}))
        return answer.status, answer.json()

    def everyone_moved(self):
        self.check(sum(client.retries for client in self.clients), "no client met the lost answer")
        sessions = {session["sid"]: session for session in self.latchkey.listed("/sessions")}
        for client, legacy in self.legacy.items():
            self.check(client.refresh.startswith("lkr_"), f"{client.label} still has {client.refresh[:20]}")
            claims = read(client.access)[1]
            session = sessions.get(claims.get("sid"), {})
            self.equal(
                session.get("started_at"), instant(read(legacy)[1]["iat"]), f"start of the session of {client.label}"
            )
            self.equal(claims.get("user_id"), str(self.old.pk(client.user)), f"user_id of {client.label}")
        self.check(read(self.device.refresh)[0]["alg"] == "HS256", "the device has a new refresh token")
        self.equal(read(self.device.access)[0]["typ"], "at+jwt", "typ of the device's access token")
        for token in (self.logged_out, self.logged_out_late):
            answer = self.refresh(token)
            self.refused(answer, 401, "a token that was blacklisted before the switch", code="token_not_valid")

    def thief(self):
        """A copy of a legacy token, used after its owner's client: at the old path and at the token endpoint."""
        for token, used in ((self.stolen, True), (self.stolen_too, False)):
            answer = self.refresh(token)
            self.equal(answer.status, 200, "the owner's exchange")
            if used:
                answer = self.refresh(answer.json()["refresh"])
                self.equal(answer.status, 200, "the owner's next refresh")
            else:
                self.advance(61)
            self.equal(self.verify(token)[0], 400, "a stolen token verified")
            with self.audited("legacy_replayed", "a stolen token"):
                self.refused(self.refresh(token), 401, "a stolen token", code="token_not_valid")
            self.not_exchanged("web", token, "a stolen token", "reused_after_window")
            answer = self.refresh(answer.json()["refresh"])
            self.refused(answer, 401, "the owner's token after the theft", code="token_not_valid")

    def compare(self):
        """The original's answers against Latchkey's."""
        tokens = self.ended | dead(self.door, self.disable)
        self.advance(61)  # so that what was rotated is no longer taken for a lost answer
        sample = read(self.slow)[1] | {"exp": int(self.clock.now()) + HOUR}
        for title, cases in asked().items():
            self.same_answers(
                title, cases, self.heard[title], tokens | live(self.door, hs256(sample, SECRET)), DIFFERENT
            )
