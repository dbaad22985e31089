-- Users of the password grant.
-- A row is added by creating a user and removed by deleting one.
CREATE TABLE users (
    sub TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    username TEXT NOT NULL,
    username_key TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT,
    claims TEXT NOT NULL,
    admin_scopes TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    credential_epoch BIGINT NOT NULL,
    -- A sub and a client_id never meet: only the one begins with this prefix.
    CHECK (substr(sub, 1, 4) = 'usr_')
);
CREATE INDEX users_by_creation ON users (created_at, sub);

-- Registered clients. `body` is the whole client as JSON; the other columns are what statements ask about.
-- A row is added by registering a client and removed by deleting one.
CREATE TABLE clients (
    client_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    full_admin BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    CHECK (substr(client_id, 1, 4) <> 'usr_')
);
CREATE INDEX clients_by_creation ON clients (created_at, client_id);

-- Refresh sessions: one row from login to expiry, whatever the number of refreshes.
-- A row is added by every login of a user. The sweep removes it a day after its absolute limit, or 30 days after it was
-- ended.
-- Each page keeps room for updates in place.
CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    client_id TEXT COLLATE "C" NOT NULL,
    sub TEXT COLLATE "C" NOT NULL,
    scope TEXT NOT NULL,
    audience TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    idle_expires_at BIGINT NOT NULL,
    absolute_expires_at BIGINT NOT NULL,
    -- The chain: all of it absent where nothing renews the session.
    generation BIGINT,
    secret_hash BYTEA,
    key_version BIGINT,
    rotated_at BIGINT,
    retry_seen BIGINT,
    late_streak BIGINT,
    narrowed BIGINT,
    ended_at BIGINT,
    end_reason TEXT,
    -- Which kinds of refusal the audit trail has already heard of, one bit each.
    refusals_noted BIGINT NOT NULL DEFAULT 0,
    -- Grows with every write of the row: what a batch guards its one UPDATE with.
    row_version BIGINT NOT NULL DEFAULT 0,
    CHECK ((generation IS NULL) = (secret_hash IS NULL)),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX sessions_by_start ON sessions (started_at, id);
CREATE INDEX sessions_by_user ON sessions (sub, started_at, id);
CREATE INDEX sessions_by_client ON sessions (client_id, started_at, id);
CREATE INDEX sessions_by_limit ON sessions (absolute_expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- What makes access tokens inactive before they expire.
-- A row is added by ending a session, revoking a token, and disabling or deleting a client; an equal one is raised
-- instead. The sweep removes it when the longest access token it could concern has expired.
CREATE TABLE revocations (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    minted_before BIGINT,
    expires_at BIGINT NOT NULL,
    -- The transaction that wrote the row: what followers catch up by, since sequence order is not commit order.
    tx BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    PRIMARY KEY (kind, id)
);
CREATE INDEX revocations_by_transaction ON revocations (tx);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- Keyed hashes of addresses that users have logged in from: throttles spare them.
-- A row is added by the first login of a user from an address, and raised by later ones. The sweep removes it 30 days
-- after the last; deleting the user removes it too.
CREATE TABLE known_addresses (
    sub TEXT COLLATE "C" NOT NULL REFERENCES users (sub) ON DELETE CASCADE,
    address BYTEA NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (sub, address)
);
CREATE INDEX known_addresses_by_age ON known_addresses (seen_at);

-- Signing keys, all states. Spans are milliseconds.
-- A row is added by every rotation and import. None is ever removed: a compromised key is remembered for ever, and a
-- retired one is some hundred bytes.
CREATE TABLE signing_keys (
    kid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    alg TEXT NOT NULL,
    state TEXT NOT NULL,
    state_since BIGINT,
    created_at BIGINT NOT NULL,
    public_jwk TEXT NOT NULL,
    sealed_private BYTEA,
    unseen_max_age BIGINT NOT NULL,
    longest_max_age BIGINT NOT NULL,
    longest_ttl BIGINT NOT NULL,
    rotation_requested_at BIGINT,
    imported BIGINT NOT NULL
);

-- Versions of the chain and tag keys of refresh tokens.
-- A row is added by rotating them and removed when the last session that may hold a token of it has expired; a version
-- is one byte, so there are never more than 256.
CREATE TABLE refresh_keys (
    version BIGINT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    state_since BIGINT,
    created_at BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    longest_absolute BIGINT NOT NULL
);

-- How often the tables that nodes hold in memory were changed, one row per table. No row is ever added or removed.
CREATE TABLE revisions (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO revisions (name, value) VALUES ('keys', 0), ('clients', 0);

-- The audit trail.
-- A row is added by everything in domain::audit::AuditType: by logins and administrative changes always, by a session's
-- refreshes at most twice per generation that saw a retry and once per kind of refusal. The sweep removes it after 400
-- days.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    who TEXT NOT NULL,
    via TEXT,
    address TEXT,
    sub TEXT COLLATE "C",
    client_id TEXT COLLATE "C",
    sid TEXT COLLATE "C",
    detail TEXT NOT NULL
);
CREATE INDEX audit_by_type ON audit (type, id);
CREATE INDEX audit_by_user ON audit (sub, id) WHERE sub IS NOT NULL;
CREATE INDEX audit_by_client ON audit (client_id, id) WHERE client_id IS NOT NULL;
CREATE INDEX audit_by_session ON audit (sid, id) WHERE sid IS NOT NULL;

-- Small facts that must outlive a restart, by name (fingerprints, leases).
-- A row is added the first time a name is used. The names are fixed in the program, so the table does not grow.
CREATE TABLE notes (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
