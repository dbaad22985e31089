-- Failed logins that slow further ones down, counted once for all nodes: by keyed hashes of accounts, of addresses and of
-- clients. Neither names nor addresses are here.
-- A row is added by an attempt for an account, address or client of which nothing is remembered, and is removed by the
-- attempt's success, or by the sweep when nothing in it counts any more: 15 minutes after the last failure. So there are
-- as many as attempts under way and names, addresses and clients with a failure in those 15 minutes. Whoever makes names
-- up waits for a password check for each, and a core makes some 50 a second: some 50,000 rows per core of the nodes at
-- the most. Some 250 bytes, and never above two thousand.
-- Not logged: no attempt waits for a disk or a standby. A crash of the server empties the table, and a standby that takes
-- over begins with an empty one: as where one process counts and is started again, guessing is then free for five times
-- per account. Each page keeps room for updates in place.
CREATE UNLOGGED TABLE login_failures (
    key BYTEA NOT NULL PRIMARY KEY,
    -- JSON. Its times are those of the database's own clock.
    state TEXT COLLATE "C" NOT NULL,
    forget_at BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX login_failures_by_end ON login_failures (forget_at);
