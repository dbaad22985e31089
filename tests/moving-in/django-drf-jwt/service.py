"""A Django forum as it was before Latchkey: users in its own database, drf-jwt's self-renewing tokens.

With LATCHKEY set to an issuer, its `/api/me` takes Latchkey's access tokens too, beside the ones that it signed itself.
"""

import datetime
import os
import sys

import django
from django.conf import settings

LATCHKEY = os.environ.get("LATCHKEY")

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    # Its first choice is what a login upgrades a hash to: pbkdf2_sha256 at the rounds that the project began with.
    PASSWORD_HASHERS=["hashers.EarlyPBKDF2"]
    + [
        f"django.contrib.auth.hashers.{name}PasswordHasher"
        for name in ["PBKDF2SHA1", "Argon2", "BCryptSHA256", "BCrypt", "Scrypt"]
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            *(["latchkey.LatchkeyAuthentication"] if LATCHKEY else []),
            "rest_framework_jwt.authentication.JSONWebTokenAuthentication",
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    JWT_AUTH={
        "JWT_EXPIRATION_DELTA": datetime.timedelta(hours=6),
        "JWT_REFRESH_EXPIRATION_DELTA": datetime.timedelta(days=7),
        "JWT_AUTH_HEADER_PREFIX": "JWT",
        "JWT_PAYLOAD_HANDLER": "handlers.payload",
        "JWT_RESPONSE_PAYLOAD_HANDLER": "handlers.response",
    },
    LATCHKEY_ISSUER=LATCHKEY,
    LATCHKEY_AUDIENCE="https://forum.example.com",
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_jwt import views  # noqa: E402


class Me(APIView):
    def get(self, request):
        return Response({"id": request.user.pk, "username": request.user.get_username()})


urlpatterns = [
    path("api/me", Me.as_view()),
    path("api-token-auth/", views.obtain_jwt_token),
    path("api-token-refresh/", views.refresh_jwt_token),
    path("api-token-verify/", views.verify_jwt_token),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
