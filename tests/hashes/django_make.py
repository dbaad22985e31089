"""Hashes as Django and argon2-cffi make them: passwords as a JSON list on standard input, a JSON object on standard
output, the name of each kind and a hash for each password. Cheap where the original lets us choose."""

import json
import sys

import argon2.low_level
import bcrypt
from django.conf import settings
from django.contrib.auth import hashers

MADE = "django.contrib.auth.hashers."
settings.configure(PASSWORD_HASHERS=[MADE + name for name in (
    "PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher", "BCryptSHA256PasswordHasher",
    "BCryptPasswordHasher", "ScryptPasswordHasher",
)])  # fmt: skip


class QuickBcrypt(hashers.BCryptPasswordHasher):
    rounds = 5

    def encode(self, password, salt):
        # bcrypt 5 refuses what its earlier versions cut off, and Django's stored hashes are from those.
        cut = password.encode()[:72].decode(errors="ignore")
        return super().encode(password if len(password.encode()) <= 72 else cut, salt)


class QuickBcryptSha256(hashers.BCryptSHA256PasswordHasher):
    rounds = 5


def argon2_of(kind, version):
    def make(password):
        return argon2.low_level.hash_secret(
            password.encode(), b"saltsaltsaltsalt", 2, 512, 2, 32, kind, version
        ).decode()

    return make


def hasher(one, **options):
    return lambda password: one.encode(password, one.salt(), **options)


Type = argon2.low_level.Type
KINDS = {
    "django pbkdf2_sha256": hasher(hashers.PBKDF2PasswordHasher(), iterations=10_000),
    "django pbkdf2_sha1": hasher(hashers.PBKDF2SHA1PasswordHasher(), iterations=20_000),
    "django argon2": hasher(hashers.Argon2PasswordHasher()),
    "django argon2i of 2.2": lambda password: "argon2" + argon2_of(Type.I, 19)(password),
    "django bcrypt_sha256": hasher(QuickBcryptSha256()),
    "django bcrypt": hasher(QuickBcrypt()),
    "django scrypt": hasher(hashers.ScryptPasswordHasher()),
    "argon2-cffi argon2id": argon2_of(Type.ID, 19),
    "argon2-cffi argon2d": argon2_of(Type.D, 19),
    "argon2-cffi argon2i 1.0": argon2_of(Type.I, 16),
    "bcrypt": lambda password: bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(5)).decode(),
}

passwords = json.load(sys.stdin)
made = {kind: [make(password) for password in passwords] for kind, make in KINDS.items()}
# As it comes, with the iterations of today's release: one is enough to wait for.
made["django pbkdf2_sha256 of today"] = [hasher(hashers.PBKDF2PasswordHasher())(passwords[0])]
json.dump(made, sys.stdout)
