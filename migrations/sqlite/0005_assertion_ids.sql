-- Assertions by which clients have proven who they are, each by a hash of its client_id and jti: none of them counts twice,
-- on whatever node.
-- A row of some 100 bytes is added by every authentication with an assertion. The sweep removes it two minutes after the
-- assertion's exp, which is an hour ahead at the most and a minute where the client is well made: at 100 authentications a
-- second some 2 MiB, and 40 MiB at the most.
CREATE TABLE assertion_ids (
    hash BLOB NOT NULL PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX assertion_ids_by_end ON assertion_ids (keep_until);
