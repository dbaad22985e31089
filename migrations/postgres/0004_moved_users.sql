-- When a user first exchanged a token of another system. No row is added or removed for it; kept when the tokens' hashes
-- are swept, so that the report of a migration still knows who has moved.
ALTER TABLE users ADD COLUMN moved_at BIGINT;
-- The report counts by this index alone: no row of a user is read.
DROP INDEX users_by_password_scheme;
CREATE INDEX users_by_password_scheme ON users (password_scheme, moved_at);
