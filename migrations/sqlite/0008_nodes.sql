-- The nodes that serve this database, and what each has loaded. The one node of a file has nobody to tell, so here it
-- stays empty.
CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    -- The revision of the keys that it signs and verifies with.
    keys_revision INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
