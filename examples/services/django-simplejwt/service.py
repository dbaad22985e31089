"""A Django service whose djangorestframework-simplejwt verifies Latchkey's access tokens through JWK_URL.

pip install -r requirements.txt && python service.py runserver
"""

import os
import secrets
import sys

import django
from django.conf import settings

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8420")

settings.configure(
    SECRET_KEY=secrets.token_urlsafe(),  # Django and simplejwt want one; this service signs nothing
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["authentication.LatchkeyAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["authentication.HasScope"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={
        "JWK_URL": f"{ISSUER}/.well-known/jwks.json",
        "ISSUER": ISSUER,
        "AUDIENCE": os.environ.get("AUDIENCE", "https://api.example.com"),
        "ALGORITHM": os.environ.get("ALGORITHM", "ES256"),  # simplejwt takes one: RS256 where your clients have that
        "LEEWAY": 30,
        "USER_ID_CLAIM": "sub",
        "TOKEN_TYPE_CLAIM": None,  # simplejwt's own claim; Latchkey's is `typ`, which authentication.py looks at
    },
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Me(APIView):
    scope = "read"

    def get(self, request):
        return Response({"sub": request.user.id, "scope": request.auth["scope"]})


urlpatterns = [path("me", Me.as_view())]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
