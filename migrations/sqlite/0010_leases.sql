-- What one node does for all: who does it, and until when. The one node of a file does everything, so here it stays empty.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    -- A node's id.
    holder TEXT NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;
