-- Users of the password grant.
-- A row is added by creating a user and removed by deleting one.
CREATE TABLE users (
    sub TEXT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    claims TEXT NOT NULL,
    admin_scopes TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    credential_epoch INTEGER NOT NULL,
    -- A sub and a client_id never meet: only the one begins with this prefix.
    CHECK (substr(sub, 1, 4) = 'usr_')
) STRICT;
CREATE INDEX users_by_creation ON users (created_at, sub);

-- Registered clients. `body` is the whole client as JSON; the other columns are what statements ask about.
-- A row is added by registering a client and removed by deleting one.
CREATE TABLE clients (
    client_id TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    full_admin INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    CHECK (substr(client_id, 1, 4) <> 'usr_')
) STRICT;
CREATE INDEX clients_by_creation ON clients (created_at, client_id);

-- Refresh sessions: one row from login to expiry, whatever the number of refreshes.
-- A row is added by every login of a user. The sweep removes it a day after its absolute limit, or 30 days after it was
-- ended.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    sub TEXT NOT NULL,
    scope TEXT NOT NULL,
    audience TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    idle_expires_at INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    -- The chain: all of it absent where nothing renews the session.
    generation INTEGER,
    secret_hash BLOB,
    key_version INTEGER,
    rotated_at INTEGER,
    retry_seen INTEGER,
    late_streak INTEGER,
    narrowed INTEGER,
    ended_at INTEGER,
    end_reason TEXT,
    -- Which kinds of refusal the audit trail has already heard of, one bit each.
    refusals_noted INTEGER NOT NULL DEFAULT 0,
    -- Grows with every write of the row: what a batch guards its one UPDATE with.
    row_version INTEGER NOT NULL DEFAULT 0,
    CHECK ((generation IS NULL) = (secret_hash IS NULL)),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT;
CREATE INDEX sessions_by_start ON sessions (started_at, id);
CREATE INDEX sessions_by_user ON sessions (sub, started_at, id);
CREATE INDEX sessions_by_client ON sessions (client_id, started_at, id);
CREATE INDEX sessions_by_limit ON sessions (absolute_expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- What makes access tokens inactive before they expire.
-- A row is added by ending a session, revoking a token, and disabling or deleting a client; an equal one is raised
-- instead. The sweep removes it when the longest access token it could concern has expired.
CREATE TABLE revocations (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    minted_before INTEGER,
    expires_at INTEGER NOT NULL,
    -- The transaction that wrote the row. Only PostgreSQL, which has other writers, tells them apart.
    tx INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- Keyed hashes of addresses that users have logged in from: throttles spare them.
-- A row is added by the first login of a user from an address, and raised by later ones. The sweep removes it 30 days
-- after the last; deleting the user removes it too.
CREATE TABLE known_addresses (
    sub TEXT NOT NULL REFERENCES users (sub) ON DELETE CASCADE,
    address BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (sub, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_addresses_by_age ON known_addresses (seen_at);

-- Signing keys, all states. Spans are milliseconds.
-- A row is added by every rotation and import. None is ever removed: a compromised key is remembered for ever, and a
-- retired one is some hundred bytes.
CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    alg TEXT NOT NULL,
    state TEXT NOT NULL,
    state_since INTEGER,
    created_at INTEGER NOT NULL,
    public_jwk TEXT NOT NULL,
    sealed_private BLOB,
    unseen_max_age INTEGER NOT NULL,
    longest_max_age INTEGER NOT NULL,
    longest_ttl INTEGER NOT NULL,
    rotation_requested_at INTEGER,
    imported INTEGER NOT NULL
) STRICT;

-- Versions of the chain and tag keys of refresh tokens.
-- A row is added by rotating them and removed when the last session that may hold a token of it has expired; a version
-- is one byte, so there are never more than 256.
CREATE TABLE refresh_keys (
    version INTEGER NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    state_since INTEGER,
    created_at INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    longest_absolute INTEGER NOT NULL
) STRICT;

-- How often the tables that nodes hold in memory were changed, one row per table. No row is ever added or removed.
CREATE TABLE revisions (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO revisions (name, value) VALUES ('keys', 0), ('clients', 0);

-- The audit trail.
-- A row is added by everything in domain::audit::AuditType: by logins and administrative changes always, by a session's
-- refreshes at most twice per generation that saw a retry and once per kind of refusal. The sweep removes it after 400
-- days.
CREATE TABLE audit (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    who TEXT NOT NULL,
    via TEXT,
    address TEXT,
    sub TEXT,
    client_id TEXT,
    sid TEXT,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_type ON audit (type, id);
CREATE INDEX audit_by_user ON audit (sub, id) WHERE sub IS NOT NULL;
CREATE INDEX audit_by_client ON audit (client_id, id) WHERE client_id IS NOT NULL;
CREATE INDEX audit_by_session ON audit (sid, id) WHERE sid IS NOT NULL;

-- Small facts that must outlive a restart, by name (fingerprints, leases).
-- A row is added the first time a name is used. The names are fixed in the program, so the table does not grow.
CREATE TABLE notes (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
