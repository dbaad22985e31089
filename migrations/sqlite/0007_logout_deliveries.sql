-- Clients that are still to hear of the end of a session (OpenID Connect Back-Channel Logout 1.0).
-- A row is added with the end of a session that came from a code with `openid`, where its client has a
-- `backchannel_logout_uri`. It is removed when the client has taken the logout token, or has not within an hour. Some 150
-- bytes; an ended session adds one at most.
CREATE TABLE logout_deliveries (
    sid TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    sub TEXT NOT NULL,
    ended_at INTEGER NOT NULL,
    -- When the next attempt is due; while one is under way, when another node may take it over.
    due_at INTEGER NOT NULL,
    -- Attempts begun: what the end of one is guarded by.
    attempts INTEGER NOT NULL
) STRICT;
CREATE INDEX logout_deliveries_by_due ON logout_deliveries (due_at, sid);
