"""A Django REST framework service that takes Latchkey's access tokens.

pip install -r requirements.txt && python service.py runserver
"""

import os
import sys

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["authentication.LatchkeyAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["authentication.HasScope"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,  # because this service has no django.contrib.auth
    },
    LATCHKEY_ISSUER=os.environ.get("ISSUER", "http://127.0.0.1:8420"),
    LATCHKEY_AUDIENCE=os.environ.get("AUDIENCE", "https://api.example.com"),
)
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Me(APIView):
    scope = "read"

    def get(self, request):
        return Response({"sub": request.user.sub, "scope": request.auth["scope"]})


urlpatterns = [path("me", Me.as_view())]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
