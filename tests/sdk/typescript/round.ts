// Uses the generated libraries as a program would, against the service at ISSUER: every operation, and the errors that
// a program tells apart. Prints "ok" and the name of each step; run.py knows which have to come.
import assert from "node:assert/strict";
import * as admin from "./sdk/admin/index.js";
import * as latchkey from "./sdk/public/index.js";

const issuer = setting("ISSUER");
const AUDIENCES = ["https://api.example.com", "https://other.example.com"];
const PASSWORD = "correct horse battery staple";
const EXCHANGE = latchkey.GrantTypeName.TOKEN_EXCHANGE;
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

function setting(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

function passed(step: string): void {
  console.log(`ok ${step}`);
}

// What is refused unexpectedly is shown by what it was told, not by its sockets.
process.on("uncaughtException", async (error: unknown) => {
  process.exitCode = 1;
  console.error(error instanceof Error ? error.stack : error);
  if (error instanceof latchkey.ResponseError || error instanceof admin.ResponseError) {
    console.error(error.response.url, error.response.status, await error.response.text().catch(() => ""));
  }
});

/** The token endpoint and its neighbours as one client, which authenticates by HTTP Basic. */
function as(username: string, password: string): latchkey.TokensApi {
  return new latchkey.TokensApi(new latchkey.Configuration({ basePath: issuer, username, password }));
}

/** What a refused call was told. */
async function refused(status: number, call: Promise<unknown>): Promise<latchkey.ErrorBody> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof latchkey.ResponseError || error instanceof admin.ResponseError, String(error));
    assert.equal(error.response.status, status);
    const body: unknown = await error.response.json();
    assert.ok(typeof body === "object" && body !== null && latchkey.instanceOfErrorBody(body), "it is an error body");
    return latchkey.ErrorBodyFromJSON(body);
  }
  assert.fail(`nothing was refused with ${status}`);
}

/** A moment between a minute ago and a month from now. */
function isNear(moment: Date): void {
  const away = moment.getTime() - Date.now();
  assert.ok(away > -60_000 && away < 31 * 86_400_000, `${moment} is now or soon`);
}

// --- discovery and health

const open = new latchkey.Configuration({ basePath: issuer });
const discovery = new latchkey.DiscoveryApi(open);
const metadata = await discovery.authorizationServerMetadata();
assert.equal(metadata.issuer, issuer);
assert.equal(metadata.tokenEndpoint, `${issuer}/oauth2/token`);
assert.ok(metadata.grantTypesSupported.includes("refresh_token"));
assert.equal(metadata.userinfoEndpoint, `${issuer}/oauth2/userinfo`);
assert.equal(metadata.authorizationEndpoint, `${issuer}/oauth2/authorize`);
assert.deepEqual(await discovery.openidConfiguration(), metadata);

const answer = await discovery.jwksRaw({});
const { keys } = await answer.value();
assert.deepEqual(new Set(keys.map((key) => key.alg)), new Set(["ES256", "RS256"]));
for (const key of keys) {
  assert.ok(key.use === "sig" && (key.kty === "EC" ? key.x && key.y && !key.n : key.n && key.e && !key.x));
}
const etag = answer.raw.headers.get("ETag") ?? undefined;
const unchanged = await discovery.jwksRaw({ ifNoneMatch: etag }).catch((error: unknown) => error);
assert.ok(unchanged instanceof latchkey.ResponseError && unchanged.response.status === 304);
passed("discovery");

const health = new latchkey.MonitoringApi(open);
assert.equal((await health.healthLive()).status, "live");
assert.equal((await health.healthReady()).status, "ready");
passed("health");

// --- what an administrator makes

const own = as("latchkey-admin", setting("ADMIN_SECRET"));
const power = await own.token({ grantType: "client_credentials", scope: "admin" });
assert.equal(power.tokenType, "Bearer");
assert.equal(power.refreshToken, undefined);
assert.equal(power.sessionExpiresAt, undefined);
assert.ok(power.expiresIn > 60);
passed("an admin token");

const asAdmin = new admin.Configuration({ basePath: issuer, accessToken: power.accessToken });
const clients = new admin.ClientsApi(asAdmin);
const made = await clients.createClient({
  newClient: {
    clientName: "A shop",
    grantTypes: ["password", "refresh_token", EXCHANGE],
    scope: "openid profile email read write",
    audience: AUDIENCES,
    lifetimes: { accessTtl: "5m", refreshIdle: "2d" },
  },
});
const { clientId, clientSecret } = made;
assert.ok(clientSecret, "a drawn secret is in the answer");
assert.equal(made.lifetimes.accessTtl, "5m");
assert.equal(made.disabled, false);
isNear(made.createdAt);
// A merge patch: what is null is the default, what is absent stays.
const changed = await clients.updateClient({
  clientId,
  clientMetadata: { clientName: null, lifetimes: { refreshIdle: null } },
});
assert.notEqual(changed.clientName, "A shop");
assert.deepEqual([changed.lifetimes.accessTtl, changed.lifetimes.refreshIdle], ["5m", undefined]);
assert.deepEqual(new Set(changed.grantTypes), new Set(["password", "refresh_token", EXCHANGE]));
const rotated = await clients.rotateClientSecret({ clientId, newSecret: { overlap: "1h" } });
assert.ok(rotated.clientSecret && rotated.clientSecret !== clientSecret);
const [newest, older] = rotated.secrets;
assert.ok(newest && older?.expiresAt && newest.expiresAt === undefined);
isNear(older.expiresAt);
assert.ok((await clients.rotateClientSecret({ clientId })).clientSecret, "the body may be left out");
const seen = await clients.getClient({ clientId });
assert.deepEqual([seen.clientSecret, seen.audience], [undefined, AUDIENCES]);
const app = await clients.createClient({
  newClient: {
    clientId: "app",
    tokenEndpointAuthMethod: "none",
    grantTypes: ["password", "refresh_token"],
    scope: "read",
  },
});
assert.equal(app.clientSecret, undefined);
const listed = await clients.listClients({ limit: 1000 });
for (const id of ["api", "app", "latchkey-admin", clientId]) {
  assert.ok(listed.items.some((item) => item.clientId === id), `${id} is listed`);
}
passed("a client");

const users = new admin.UsersApi(asAdmin);
const ada = await users.createUser({
  newUser: {
    username: "ada",
    password: PASSWORD,
    email: "ada@example.com",
    emailVerified: true,
    address: { country: "UK" },
    externalId: "1815",
    attributes: { engine: { analytical: true }, cards: [1, "two", null] },
  },
});
const { sub } = ada;
assert.deepEqual([ada.email, ada.emailVerified, ada.address?.country], ["ada@example.com", true, "UK"]);
assert.deepEqual([ada.hasPassword, ada.adminScopes, ada.name], [true, [], undefined]);
assert.deepEqual(ada.attributes, { engine: { analytical: true }, cards: [1, "two", null] });
const renamed = await users.updateUser({ sub, userChanges: { name: "Ada Lovelace", email: null } });
assert.deepEqual([renamed.name, renamed.email, renamed.emailVerified], ["Ada Lovelace", undefined, true]);
assert.deepEqual((await users.listUsers({ username: "ADA" })).items.map((user) => user.sub), [sub]);
assert.deepEqual((await users.listUsers({ externalId: "1815" })).items.map((user) => user.sub), [sub]);
assert.equal((await users.getUser({ sub })).updatedAt.getTime(), renamed.updatedAt.getTime());
const report = await users.importUsers({ dryRun: true, newUser: [{ username: "ada" }, { username: "bob" }] });
assert.deepEqual(report.rows.map((row) => row.outcome), ["exists", "created"]);
const migration = await users.getMigration();
assert.deepEqual([migration.users, migration.moved, migration.left], [1, 1, 0]);
passed("a user");

// --- a session

const shop = as(clientId, clientSecret);
const credentials = { grantType: "password", username: "ada", password: PASSWORD } as const;
const first = await shop.token({ ...credentials, scope: "read write" });
assert.ok(first.refreshToken && first.refreshIn && first.sessionExpiresAt);
assert.ok(first.refreshIn < first.expiresIn && first.expiresIn <= 300);
isNear(new Date(first.sessionExpiresAt * 1000));
assert.deepEqual(new Set(first.scope?.split(" ")), new Set(["read", "write"]));
const publicClient = new latchkey.TokensApi(open);
assert.ok((await publicClient.token({ ...credentials, clientId: "app" })).refreshToken, "a public client logs in");
passed("login");

const api = as("api", setting("API_SECRET"));
const told = await api.introspect({ token: first.accessToken });
assert.deepEqual([told.active, told.sub, told.clientId, told.aud], [true, sub, clientId, AUDIENCES]);
assert.ok(told.exp && told.iat && told.exp - told.iat === first.expiresIn);
const both = await shop.token({ ...credentials, resource: AUDIENCES });
assert.deepEqual((await api.introspect({ token: both.accessToken })).aud, AUDIENCES);
const garbage = await api.introspect({ token: "garbage" });
assert.deepEqual(Object.values(garbage).filter((value) => value !== undefined), [false], "nothing but active is said");
passed("introspection");

const asked = (accessToken: string) =>
  new latchkey.OpenIdApi(new latchkey.Configuration({ basePath: issuer, accessToken })).userinfo();
const who = await asked(both.accessToken);
assert.deepEqual([who.sub, who.name, who.preferredUsername], [sub, "Ada Lovelace", "ada"]);
assert.deepEqual([who.email, who.emailVerified, who.address], [undefined, true, undefined]);
assert.ok(who.updatedAt);
isNear(new Date(who.updatedAt * 1000));
const anybody = new latchkey.OpenIdApi(open);
assert.deepEqual(await anybody.userinfoPost({ accessToken: both.accessToken }), who);
assert.equal((await refused(401, anybody.userinfo())).error, "invalid_token");
assert.equal((await refused(403, asked(first.accessToken))).error, "insufficient_scope");
passed("userinfo");

const renew = (refreshToken: string) => shop.token({ grantType: "refresh_token", refreshToken });
const second = await renew(first.refreshToken);
const again = await renew(first.refreshToken);
assert.ok(second.refreshToken && second.refreshToken !== first.refreshToken);
assert.equal(again.refreshToken, second.refreshToken, "a lost answer is given again");
assert.notEqual(again.accessToken, second.accessToken);
passed("renewal");

const subject = { grantType: EXCHANGE, subjectToken: again.accessToken, subjectTokenType: ACCESS_TOKEN } as const;
const successor = await shop.token(subject);
assert.deepEqual([successor.issuedTokenType, successor.refreshToken], [ACCESS_TOKEN, undefined]);
const old = await api.introspect({ token: again.accessToken });
const resigned = await api.introspect({ token: successor.accessToken });
assert.ok(resigned.active && resigned.sid === old.sid && resigned.jti !== old.jti);
const narrow = await shop.token({ ...subject, audience: AUDIENCES.slice(1), scope: "read" });
const narrowed = await api.introspect({ token: narrow.accessToken });
assert.deepEqual([narrowed.aud, narrowed.scope], [AUDIENCES.slice(1), "read"]);
const broad = await shop.token({ ...subject, audience: AUDIENCES });
assert.deepEqual((await api.introspect({ token: broad.accessToken })).aud, AUDIENCES);
const delegated = await api.introspect({ token: (await api.token(subject)).accessToken });
assert.deepEqual([delegated.sub, delegated.act?.sub, delegated.aud], [sub, "api", AUDIENCES.slice(1)]);
passed("exchange");

const third = await renew(second.refreshToken);
const replay = await refused(400, renew(first.refreshToken));
assert.deepEqual([replay.error, replay.reason], ["invalid_grant", "reused_after_window"]);
assert.ok(third.refreshToken && (await api.introspect({ token: third.accessToken })).active === false);
passed("a reason");

const sessions = new admin.SessionsApi(asAdmin);
const all = await sessions.listSessions({ sub, clientId });
assert.equal(all.items.length, 2);
const ended = all.items.find((session) => session.endReason === "reused");
const alive = all.items.find((session) => session.state === "active");
assert.ok(ended?.endedAt && ended.generation === 2 && alive && !alive.endedAt);
isNear(ended.endedAt);
isNear(alive.absoluteExpiresAt);
const story = await sessions.getSession({ sid: ended.sid });
assert.ok(story.timeline?.some((event) => event.type === "refresh_reused"));
passed("sessions");

// Nobody here has a browser.
assert.deepEqual((await sessions.listSignIns({ sub, live: true })).items, []);
const nowhere = "c2lnbi1pbiAxNiBieXRlcw";
assert.equal((await refused(404, sessions.getSignIn({ id: nowhere }))).error, "not_found");
assert.equal((await refused(404, sessions.endSignIn({ id: nowhere }))).error, "not_found");
assert.deepEqual((await sessions.listConsents({ sub })).items, []);
assert.equal((await refused(404, sessions.revokeConsent({ sub, clientId }))).error, "not_found");
passed("sign-ins");

assert.ok(both.refreshToken);
await shop.revoke({ token: both.refreshToken, tokenTypeHint: "refresh_token" });
assert.equal((await api.introspect({ token: both.accessToken })).active, false);
assert.equal((await refused(400, renew(both.refreshToken))).reason, "revoked");
passed("revocation");

// --- errors

const wrong = await refused(400, shop.token({ ...credentials, password: "guessed" }));
assert.deepEqual([wrong.error, wrong.reason], ["invalid_grant", undefined]);
assert.ok(wrong.errorDescription.length > 10);
assert.equal((await refused(401, as(clientId, "guessed").token(credentials))).error, "invalid_client");
assert.equal((await refused(404, users.getUser({ sub: "usr_nobody" }))).error, "not_found");
assert.equal((await refused(409, users.createUser({ newUser: { username: "Ada" } }))).error, "conflict");
const nobody = new admin.UsersApi(new admin.Configuration({ basePath: issuer }));
assert.equal((await refused(401, nobody.listUsers({}))).error, "invalid_token");
const small = await own.token({ grantType: "client_credentials", scope: "admin:audit:read" });
const reader = new admin.Configuration({ basePath: issuer, accessToken: () => small.accessToken });
assert.equal((await refused(403, new admin.UsersApi(reader).listUsers({}))).error, "insufficient_scope");
const greedy = publicClient.token({ ...credentials, clientId: "app", scope: "admin" });
assert.equal((await refused(400, greedy)).error, "invalid_scope");
passed("errors");

// --- keys

const keyring = new admin.KeysApi(asAdmin);
const before = await keyring.listKeys();
const active = before.items.find((key) => key.alg === "ES256" && key.state === "active");
assert.ok(active && !active.imported);
assert.deepEqual(await keyring.getKey({ kid: active.kid }), active);
const plan = await keyring.rotateKeys({ rotation: { alg: "ES256", mode: "planned", dryRun: true } });
assert.ok(plan.dryRun && plan.actions.length > 0 && plan.actions.every((step) => step.action !== "compromise"));
if (plan.waitsUntil) isNear(plan.waitsUntil);
const lost = await keyring.rotateKeys({ rotation: { alg: "ES256", mode: admin.RotateMode.Compromise, dryRun: true } });
assert.ok(lost.notes.length > 0);
assert.ok(lost.actions.some((step) => step.action === "compromise" && step.kid === active.kid));
const after = await keyring.listKeys();
assert.deepEqual(after.items.map((key) => key.state), before.items.map((key) => key.state), "nothing was done");
assert.equal((await refused(400, keyring.importKey({ newKey: { pem: "no key" } }))).error, "invalid_request");
passed("keys");

// --- the audit trail, page by page

const audit = new admin.AuditApi(reader);
const events: admin.AuditEvent[] = [];
let pages = 0;
for (let after: string | undefined, more = true; more; pages += 1) {
  const page = await audit.listAuditEvents({ limit: 5, after });
  assert.ok(page.items.length <= 5);
  events.push(...page.items);
  after = page.next ?? undefined;
  more = after !== undefined;
}
assert.ok(pages > 2 && events.length > 10, `${events.length} events on ${pages} pages`);
assert.ok(events.every((event, at) => at === 0 || event.id > (events[at - 1]?.id ?? 0)), "each once, in order");
const creation = events.find((event) => event.type === "user_created" && event.sub === sub);
assert.ok(creation && creation.detail["username"] === "ada" && creation.actor === "latchkey-admin");
isNear(creation.at);
const backwards = await audit.listAuditEvents({ order: admin.Order.Desc, type: "refresh_reused", sub });
assert.deepEqual(backwards.items.map((event) => event.sid), [ended.sid]);
passed("the audit trail");

// --- endings

const kept = await shop.token(credentials);
const [last] = (await sessions.listSessions({ sub, clientId, limit: 1 })).items;
assert.ok(last && last.state === "active" && kept.refreshToken);
await sessions.endSession({ sid: last.sid });
assert.equal((await refused(400, renew(kept.refreshToken))).reason, "revoked");
await shop.token(credentials);
assert.equal((await users.logOutUser({ sub })).sessionsEnded, 2, "this one and that of the public client");
await users.setUserPassword({ sub, newPassword: { password: `${PASSWORD}!` } });
await refused(400, shop.token(credentials));
await shop.token({ ...credentials, password: `${PASSWORD}!` });
await users.deleteUser({ sub });
await refused(404, users.getUser({ sub }));
await clients.deleteClient({ clientId });
assert.equal((await refused(401, shop.token(credentials))).error, "invalid_client");
passed("endings");

const metrics = await (await new admin.MonitoringApi(asAdmin).metrics()).text();
assert.ok(metrics.includes("# TYPE latchkey_") && metrics.endsWith("# EOF\n"));
passed("metrics");
