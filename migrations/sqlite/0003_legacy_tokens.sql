-- Tokens of other systems that were exchanged here, each by the hash of what its signature protects: no second exchange
-- opens a second session, on whatever node.
-- A row is added by the one exchange of each such token. The sweep removes it when the token has expired and its issuer's
-- cut-off, as it was at the exchange, has passed: some 250 bytes for every token until then.
CREATE TABLE legacy_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    -- The name of one of [[legacy_issuers]].
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    sub TEXT NOT NULL,
    -- The session that it opened.
    sid TEXT NOT NULL,
    redeemed_at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    -- What the audit trail has already heard of it, one bit each.
    noted INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX legacy_tokens_by_issuer ON legacy_tokens (issuer, sub, redeemed_at);
CREATE INDEX legacy_tokens_by_end ON legacy_tokens (keep_until);

-- When all sessions of the user were last ended. A login of before, brought from another system, is over with them.
ALTER TABLE users ADD COLUMN sessions_ended_at INTEGER;
