"""djangorestframework-simplejwt for Latchkey's access tokens: what its settings cannot say."""

import jwt
from rest_framework.permissions import BasePermission
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken


class LatchkeyAuthentication(JWTStatelessUserAuthentication):
    """Of Latchkey's tokens only access tokens. (Users of your own: take JWTAuthentication, and USER_ID_FIELD.)"""

    def get_validated_token(self, raw_token):
        token = super().get_validated_token(raw_token)
        if jwt.get_unverified_header(raw_token).get("typ") != "at+jwt":
            raise InvalidToken("not an access token")
        return token


class HasScope(BasePermission):
    """The token carries the view's `scope`."""

    def has_permission(self, request, view):
        return request.auth is not None and view.scope in request.auth.get("scope", "").split()
