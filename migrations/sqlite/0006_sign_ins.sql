-- Users signed in in a browser, each found by the hash of the secret in the browser's cookie.
-- A row is added whenever a user types the password in a browser where nobody, or somebody else, is signed in. The sweep
-- removes it 30 days after its absolute limit, or after its end. Some 500 bytes, written once a minute while it is used.
CREATE TABLE sign_ins (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,
    sub TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    idle_expires_at INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    ended_at INTEGER,
    end_reason TEXT,
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT;
CREATE INDEX sign_ins_by_start ON sign_ins (started_at, id);
CREATE INDEX sign_ins_by_user ON sign_ins (sub, started_at, id);
CREATE INDEX sign_ins_by_limit ON sign_ins (absolute_expires_at);
CREATE INDEX sign_ins_by_end ON sign_ins (ended_at) WHERE ended_at IS NOT NULL;

-- Authorization codes, each by its hash: no second exchange opens a second session, on whatever node.
-- A row is added by every authorization that succeeds. It is removed with its user's or client's access if nobody has
-- exchanged it by then; the sweep removes it an hour after it expired: until then a second exchange is noticed.
CREATE TABLE codes (
    hash BLOB NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    redirect_uri TEXT,
    challenge BLOB,
    nonce TEXT,
    scope TEXT NOT NULL,
    audience TEXT NOT NULL,
    sub TEXT NOT NULL,
    credential_epoch INTEGER NOT NULL,
    sign_in TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    acr TEXT,
    claims TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- The exchange, and the session that it opened.
    redeemed_at INTEGER,
    sid TEXT,
    -- The first exchange after that one: what the audit trail has heard of.
    replayed_at INTEGER,
    CHECK ((redeemed_at IS NULL) = (sid IS NULL)),
    CHECK (replayed_at IS NULL OR redeemed_at IS NOT NULL)
) STRICT;
-- Also how the codes of a user or client are found that may still be exchanged: those of the last minute.
CREATE INDEX codes_by_expiry ON codes (expires_at);

-- What users have allowed clients.
-- A row is added by a user's first consent to a client, widened by later ones, and removed by revoking it or with its
-- user or client. Never more than users times clients; no sweep, since a consent has no end. (A client may have any
-- number of them. They go some at a time when it is deleted, so they do not refer to it.)
CREATE TABLE consents (
    sub TEXT NOT NULL REFERENCES users (sub) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (sub, client_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX consents_by_client ON consents (client_id);

-- The sign-in that opened a session, whether the session outlives it, and what was asked for by the parameter `claims`
-- (at most 4 KiB). No row is added or removed for it.
ALTER TABLE sessions ADD COLUMN sign_in TEXT;
ALTER TABLE sessions ADD COLUMN claims TEXT;
ALTER TABLE sessions ADD COLUMN offline INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_by_sign_in ON sessions (sign_in) WHERE sign_in IS NOT NULL;
