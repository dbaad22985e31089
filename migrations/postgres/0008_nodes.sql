-- The nodes that serve this database, and what each has loaded: a key signs only when all who live could verify it.
-- A row is added by a node's start and removed by its orderly stop, or by any other node a day after it was last heard of.
-- Times are those of the database's own clock. Some 60 bytes; rewritten by each node every five seconds.
CREATE TABLE nodes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- The revision of the keys that it signs and verifies with.
    keys_revision BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
