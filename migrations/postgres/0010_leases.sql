-- What one node does for all: who does it, and until when the others leave it to that node. Times are those of the
-- database's own clock. A row for each job, two in all; rewritten while there is work.
CREATE TABLE leases (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- A node's id.
    holder TEXT COLLATE "C" NOT NULL,
    ends_at BIGINT NOT NULL
);
