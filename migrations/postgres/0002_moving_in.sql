-- Users who come from another system: the id they had there, what else it knew of them, and how their password hash is
-- written. No row is added or removed for it: all of it lives and goes with its user. `attributes` is JSON of at most
-- 8 KiB.
ALTER TABLE users ADD COLUMN external_id TEXT COLLATE "C";
ALTER TABLE users ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX users_by_external_id ON users (external_id) WHERE external_id IS NOT NULL;

-- What a password hash begins with, which tells its family: `argon2id` of $argon2id$..., `bcrypt` of {bcrypt}...,
-- `pbkdf2_sha256` of pbkdf2_sha256$.... Counted by index, so that nobody reads every user to learn how many have moved.
ALTER TABLE users ADD COLUMN password_scheme TEXT COLLATE "C" GENERATED ALWAYS AS (
    CASE substr(password_hash, 1, 1)
        WHEN '$' THEN split_part(password_hash, '$', 2)
        WHEN '{' THEN split_part(substr(password_hash, 2), '}', 1)
        ELSE split_part(password_hash, '$', 1)
    END
) STORED;
CREATE INDEX users_by_password_scheme ON users (password_scheme);
