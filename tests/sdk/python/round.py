"""Uses the generated libraries as a program would, against the service at ISSUER: every operation, and the errors that
a program tells apart. Prints "ok" and the name of each step; run.py knows which have to come.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import latchkey
import latchkey_admin as admin
from latchkey.exceptions import ApiException as Refusal
from latchkey_admin.exceptions import ApiException as AdminRefusal

ISSUER = os.environ["ISSUER"]
AUDIENCES = ["https://api.example.com", "https://other.example.com"]
PASSWORD = "correct horse battery staple"
Grant = latchkey.GrantTypeName
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


def passed(step: str) -> None:
    print(f"ok {step}", flush=True)


def client(username: str | None = None, password: str | None = None) -> latchkey.TokensApi:
    """The token endpoint and its neighbours as one client, which authenticates by HTTP Basic or not at all."""
    return latchkey.TokensApi(latchkey.ApiClient(latchkey.Configuration(ISSUER, username=username, password=password)))


def administration(access_token: str | None = None) -> admin.ApiClient:
    return admin.ApiClient(admin.Configuration(ISSUER, access_token=access_token))


def refused(status: int, call: Callable[[], object]) -> latchkey.ErrorBody | admin.ErrorBody:
    """What a refused call was told. (The exception's own `reason` is the phrase of the status line.)"""
    try:
        call()
    except (Refusal, AdminRefusal) as error:
        assert error.status == status, error
        assert isinstance(error.data, latchkey.ErrorBody | admin.ErrorBody), error.data
        return error.data
    raise AssertionError(f"nothing was refused with {status}")


def is_near(moment: datetime | None) -> bool:
    """Between a minute ago and a month from now."""
    return moment is not None and timedelta(minutes=-1) < moment - datetime.now(UTC) < timedelta(days=31)


# --- discovery and health

public = latchkey.ApiClient(latchkey.Configuration(ISSUER))
discovery = latchkey.DiscoveryApi(public)
metadata = discovery.authorization_server_metadata()
assert metadata.issuer == ISSUER
assert metadata.token_endpoint == f"{ISSUER}/oauth2/token"
assert "refresh_token" in metadata.grant_types_supported
assert metadata.userinfo_endpoint == f"{ISSUER}/oauth2/userinfo"
assert metadata.authorization_endpoint == f"{ISSUER}/oauth2/authorize"
assert discovery.openid_configuration() == metadata

answer = discovery.jwks_with_http_info()
assert {key.alg for key in answer.data.keys} == {"ES256", "RS256"}
for key in answer.data.keys:
    assert key.use == "sig"
    assert key.x and key.y and not key.n if key.kty == "EC" else key.n and key.e and not key.x
headers = {name.lower(): value for name, value in (answer.headers or {}).items()}
try:
    discovery.jwks(if_none_match=headers["etag"])
    raise AssertionError("the key set is unchanged")
except Refusal as unchanged:
    assert unchanged.status == 304
passed("discovery")

health = latchkey.MonitoringApi(public)
assert health.health_live().status == "live"
assert health.health_ready().status == "ready"
passed("health")

# --- what an administrator makes

own = client("latchkey-admin", os.environ["ADMIN_SECRET"])
power = own.token(Grant.CLIENT_CREDENTIALS, scope="admin")
assert power.token_type == "Bearer"
assert power.refresh_token is None and power.session_expires_at is None
assert power.expires_in > 60
passed("an admin token")

as_admin = administration(power.access_token)
clients = admin.ClientsApi(as_admin)
made = clients.create_client(
    admin.NewClient(
        client_name="A shop",
        grant_types=["password", "refresh_token", Grant.TOKEN_EXCHANGE.value],
        scope="openid profile email read write",
        audience=AUDIENCES,
        lifetimes=admin.Lifetimes(access_ttl="5m", refresh_idle="2d"),
    )
)
client_id = made.client_id
assert made.client_secret, "a drawn secret is in the answer"
assert made.lifetimes.access_ttl == "5m" and made.disabled is False
assert is_near(made.created_at)
# A merge patch: what is null is the default, what is absent stays.
patch = admin.ClientMetadata(client_name=None, lifetimes=admin.Lifetimes(refresh_idle=None))
changed = clients.update_client(client_id, patch)
assert changed.client_name != "A shop"
assert (changed.lifetimes.access_ttl, changed.lifetimes.refresh_idle) == ("5m", None)
assert set(changed.grant_types) == {"password", "refresh_token", Grant.TOKEN_EXCHANGE}
rotated = clients.rotate_client_secret(client_id, admin.NewSecret(overlap="1h"))
assert rotated.client_secret and rotated.client_secret != made.client_secret
newest, older = rotated.secrets
assert newest.expires_at is None and is_near(older.expires_at)
assert clients.rotate_client_secret(client_id).client_secret, "the body may be left out"
seen = clients.get_client(client_id)
assert (seen.client_secret, seen.audience) == (None, AUDIENCES)
app = clients.create_client(
    admin.NewClient(
        client_id="app",
        token_endpoint_auth_method="none",
        grant_types=["password", "refresh_token"],
        scope="read",
    )
)
assert app.client_secret is None
listed = {item.client_id for item in clients.list_clients(limit=1000).items}
assert {"api", "app", "latchkey-admin", client_id} <= listed
passed("a client")

users = admin.UsersApi(as_admin)
ada = users.create_user(
    admin.NewUser(
        username="ada",
        password=PASSWORD,
        email="ada@example.com",
        email_verified=True,
        address=admin.Address(country="UK"),
        external_id="1815",
        attributes={"engine": {"analytical": True}, "cards": [1, "two", None]},
    )
)
sub = ada.sub
assert (ada.email, ada.email_verified) == ("ada@example.com", True)
assert ada.address is not None and ada.address.country == "UK"
assert (ada.has_password, ada.admin_scopes, ada.name) == (True, [], None)
assert ada.attributes == {"engine": {"analytical": True}, "cards": [1, "two", None]}
renamed = users.update_user(sub, admin.UserChanges(name="Ada Lovelace", email=None))
assert (renamed.name, renamed.email, renamed.email_verified) == ("Ada Lovelace", None, True)
assert [user.sub for user in users.list_users(username="ADA").items] == [sub]
assert [user.sub for user in users.list_users(external_id="1815").items] == [sub]
assert users.get_user(sub).updated_at == renamed.updated_at
report = users.import_users([admin.NewUser(username="ada"), admin.NewUser(username="bob")], dry_run=True)
assert [row.outcome.value for row in report.rows] == ["exists", "created"]
migration = users.get_migration()
assert (migration.users, migration.moved, migration.left) == (1, 1, 0)
passed("a user")

# --- a session

shop = client(client_id, made.client_secret)


def login(password: str = PASSWORD) -> latchkey.TokenBody:
    return shop.token(Grant.PASSWORD, username="ada", password=password)


def renew(refresh_token: str | None) -> latchkey.TokenBody:
    assert refresh_token is not None
    return shop.token(Grant.REFRESH_TOKEN, refresh_token=refresh_token)


first = shop.token(Grant.PASSWORD, username="ada", password=PASSWORD, scope="read write")
assert first.refresh_token and first.refresh_in and first.session_expires_at and first.scope
assert first.refresh_in < first.expires_in <= 300
assert is_near(datetime.fromtimestamp(first.session_expires_at, UTC))
assert set(first.scope.split()) == {"read", "write"}
open_client = client()
there = open_client.token(Grant.PASSWORD, username="ada", password=PASSWORD, client_id="app")
assert there.refresh_token, "a public client logs in"
passed("login")

api = client("api", os.environ["API_SECRET"])
told = api.introspect(first.access_token)
assert (told.active, told.sub, told.client_id, told.aud) == (True, sub, client_id, AUDIENCES)
assert told.exp and told.iat and told.exp - told.iat == first.expires_in and abs(told.iat - time.time()) < 60
both = shop.token(Grant.PASSWORD, username="ada", password=PASSWORD, resource=AUDIENCES)
assert api.introspect(both.access_token).aud == AUDIENCES
assert api.introspect("garbage").to_dict() == {"active": False}, "nothing but active is said"
passed("introspection")


def asked(access_token: str) -> latchkey.UserInfo:
    return latchkey.OpenIdApi(latchkey.ApiClient(latchkey.Configuration(ISSUER, access_token=access_token))).userinfo()


who = asked(both.access_token)
assert (who.sub, who.name, who.preferred_username) == (sub, "Ada Lovelace", "ada")
assert (who.email, who.email_verified, who.address) == (None, True, None)
assert who.updated_at is not None and is_near(datetime.fromtimestamp(who.updated_at, UTC))
anybody = latchkey.OpenIdApi(public)
assert anybody.userinfo_post(access_token=both.access_token) == who
assert refused(401, anybody.userinfo).error == "invalid_token"
assert refused(403, lambda: asked(first.access_token)).error == "insufficient_scope"
passed("userinfo")

second = renew(first.refresh_token)
again = renew(first.refresh_token)
assert second.refresh_token and second.refresh_token != first.refresh_token
assert again.refresh_token == second.refresh_token, "a lost answer is given again"
assert again.access_token != second.access_token
passed("renewal")


def exchange(by: latchkey.TokensApi, audience: list[str] | None = None, scope: str | None = None) -> latchkey.TokenBody:
    return by.token(
        Grant.TOKEN_EXCHANGE,
        subject_token=again.access_token,
        subject_token_type=ACCESS_TOKEN,
        audience=audience,
        scope=scope,
    )


successor = exchange(shop)
assert (successor.issued_token_type, successor.refresh_token) == (ACCESS_TOKEN, None)
old, resigned = api.introspect(again.access_token), api.introspect(successor.access_token)
assert resigned.active and resigned.sid == old.sid and resigned.jti != old.jti
narrowed = api.introspect(exchange(shop, AUDIENCES[1:], "read").access_token)
assert (narrowed.aud, narrowed.scope) == (AUDIENCES[1:], "read")
assert api.introspect(exchange(shop, AUDIENCES).access_token).aud == AUDIENCES
delegated = api.introspect(exchange(api).access_token)
assert delegated.act is not None and delegated.act.sub == "api"
assert (delegated.sub, delegated.aud) == (sub, AUDIENCES[1:])
passed("exchange")

third = renew(second.refresh_token)
replay = refused(400, lambda: renew(first.refresh_token))
assert (replay.error, replay.reason) == ("invalid_grant", "reused_after_window")
assert api.introspect(third.access_token).active is False
passed("a reason")

sessions = admin.SessionsApi(as_admin)
every = sessions.list_sessions(sub=sub, client_id=client_id).items
assert len(every) == 2
(ended,) = [session for session in every if session.end_reason == "reused"]
(alive,) = [session for session in every if session.state == "active"]
assert ended.generation == 2 and is_near(ended.ended_at)
assert alive.ended_at is None and is_near(alive.absolute_expires_at)
story = sessions.get_session(ended.sid)
assert story.timeline is not None and "refresh_reused" in [event.type for event in story.timeline]
passed("sessions")

# Nobody here has a browser.
assert sessions.list_sign_ins(sub=sub, live=True).items == []
assert refused(404, lambda: sessions.get_sign_in("c2lnbi1pbiAxNiBieXRlcw")).error == "not_found"
assert refused(404, lambda: sessions.end_sign_in("c2lnbi1pbiAxNiBieXRlcw")).error == "not_found"
assert sessions.list_consents(sub).items == []
assert refused(404, lambda: sessions.revoke_consent(sub, client_id)).error == "not_found"
passed("sign-ins")

assert both.refresh_token
shop.revoke(both.refresh_token, token_type_hint="refresh_token")
assert api.introspect(both.access_token).active is False
assert refused(400, lambda: renew(both.refresh_token)).reason == "revoked"
passed("revocation")

# --- errors

wrong = refused(400, lambda: login("guessed"))
assert (wrong.error, wrong.reason) == ("invalid_grant", None)
assert len(wrong.error_description) > 10
stranger = client(client_id, "guessed")
assert refused(401, lambda: stranger.token(Grant.PASSWORD, username="ada", password="?")).error == "invalid_client"
assert refused(404, lambda: users.get_user("usr_nobody")).error == "not_found"
assert refused(409, lambda: users.create_user(admin.NewUser(username="Ada"))).error == "conflict"
nobody = admin.UsersApi(administration())
assert refused(401, nobody.list_users).error == "invalid_token"
reader = administration(own.token(Grant.CLIENT_CREDENTIALS, scope="admin:audit:read").access_token)
assert refused(403, lambda: admin.UsersApi(reader).list_users()).error == "insufficient_scope"
greedy = refused(
    400,
    lambda: open_client.token(Grant.PASSWORD, username="ada", password=PASSWORD, client_id="app", scope="admin"),
)
assert greedy.error == "invalid_scope"
passed("errors")

# --- keys

keyring = admin.KeysApi(as_admin)
before = keyring.list_keys().items
(active,) = [key for key in before if key.alg == "ES256" and key.state == "active"]
assert not active.imported
assert keyring.get_key(active.kid) == active
plan = keyring.rotate_keys(admin.Rotation(alg=admin.KeyAlg.ES256, mode=admin.RotateMode.PLANNED, dry_run=True))
assert plan.dry_run and plan.actions and all(step.action != "compromise" for step in plan.actions)
assert plan.waits_until is None or is_near(plan.waits_until)
lost = keyring.rotate_keys(admin.Rotation(alg=admin.KeyAlg.ES256, mode=admin.RotateMode.COMPROMISE, dry_run=True))
assert lost.notes and active.kid in [step.kid for step in lost.actions if step.action == "compromise"]
assert [key.state for key in keyring.list_keys().items] == [key.state for key in before], "nothing was done"
assert refused(400, lambda: keyring.import_key(admin.NewKey(pem="no key"))).error == "invalid_request"
passed("keys")

# --- the audit trail, page by page

audit = admin.AuditApi(reader)
page = audit.list_audit_events(limit=5)
events, pages = page.items, 1
while page.next is not None:
    page = audit.list_audit_events(limit=5, after=page.next)
    assert len(page.items) <= 5
    events, pages = events + page.items, pages + 1
assert pages > 2 and len(events) > 10, f"{len(events)} events on {pages} pages"
ids = [event.id for event in events]
assert ids == sorted(set(ids)), "each once, in order"
(creation,) = [event for event in events if event.type == "user_created" and event.sub == sub]
assert (creation.detail["username"], creation.actor) == ("ada", "latchkey-admin")
assert is_near(creation.at)
backwards = audit.list_audit_events(order=admin.Order.DESC, type="refresh_reused", sub=sub)
assert [event.sid for event in backwards.items] == [ended.sid]
passed("the audit trail")

# --- endings

kept = login()
(last,) = sessions.list_sessions(sub=sub, client_id=client_id, limit=1).items
assert last.state == "active"
sessions.end_session(last.sid)
assert refused(400, lambda: renew(kept.refresh_token)).reason == "revoked"
login()
assert users.log_out_user(sub).sessions_ended == 2, "this one and that of the public client"
users.set_user_password(sub, admin.NewPassword(password=f"{PASSWORD}!"))
refused(400, login)
login(f"{PASSWORD}!")
users.delete_user(sub)
refused(404, lambda: users.get_user(sub))
clients.delete_client(client_id)
assert refused(401, login).error == "invalid_client"
passed("endings")

metrics = admin.MonitoringApi(as_admin).metrics().decode()
assert "# TYPE latchkey_" in metrics and metrics.endswith("# EOF\n")
passed("metrics")
