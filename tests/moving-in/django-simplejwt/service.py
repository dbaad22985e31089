"""A Django shop as it was before Latchkey: users in its own database, djangorestframework-simplejwt for tokens.

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
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
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
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": datetime.timedelta(minutes=5),
        "REFRESH_TOKEN_LIFETIME": datetime.timedelta(days=1),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "SLIDING_TOKEN_LIFETIME": datetime.timedelta(hours=6),
        "SLIDING_TOKEN_REFRESH_LIFETIME": datetime.timedelta(days=1),
        "AUTH_TOKEN_CLASSES": [
            "rest_framework_simplejwt.tokens.AccessToken",
            "rest_framework_simplejwt.tokens.SlidingToken",
            *(["latchkey.LatchkeyToken"] if LATCHKEY else []),
        ],
    },
    LATCHKEY_ISSUER=LATCHKEY,
    LATCHKEY_AUDIENCE="https://shop.example.com",
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt import views  # noqa: E402
from rest_framework_simplejwt.serializers import TokenRefreshSerializer  # noqa: E402


class Me(APIView):
    def get(self, request):
        return Response({"id": request.user.pk, "username": request.user.get_username()})


class KeepRefreshToken(TokenRefreshSerializer):
    """For the devices in the shops, which cannot store a new refresh token."""

    def validate(self, attrs):
        return {"access": str(self.token_class(attrs["refresh"]).access_token)}


urlpatterns = [
    path("api/me", Me.as_view()),
    path("api/token/", views.TokenObtainPairView.as_view()),
    path("api/token/refresh/", views.TokenRefreshView.as_view()),
    path("api/token/verify/", views.TokenVerifyView.as_view()),
    path("api/token/blacklist/", views.TokenBlacklistView.as_view()),
    path("api/device/token/", views.TokenObtainPairView.as_view()),
    path("api/device/token/refresh/", views.TokenRefreshView.as_view(serializer_class=KeepRefreshToken)),
    path("api/sliding/", views.TokenObtainSlidingView.as_view()),
    path("api/sliding/refresh/", views.TokenRefreshSlidingView.as_view()),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
