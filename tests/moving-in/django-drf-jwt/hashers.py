"""What PASSWORD_HASHERS names first."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class EarlyPBKDF2(PBKDF2PasswordHasher):
    iterations = 36_000  # Django 1.11's, which nobody has raised since
