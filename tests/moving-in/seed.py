"""Creates the users of a Django project here: JSON of them on standard input, one with each of Django's hashers."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path.cwd()))  # the project's own folder

import service  # noqa: E402, F401
from django.contrib.auth.hashers import make_password  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402

for row in json.load(sys.stdin):
    password, hasher = row.pop("password"), row.pop("hasher")
    User.objects.create(**row, password=make_password(password, hasher=hasher))
