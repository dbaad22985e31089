"""Latchkey's access tokens for Django REST framework: an authentication class and a permission."""

import jwt
from django.conf import settings
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.permissions import BasePermission

keys = jwt.PyJWKClient(f"{settings.LATCHKEY_ISSUER}/.well-known/jwks.json", timeout=5)


class Unavailable(APIException):
    status_code, default_detail = 503, "tokens cannot be verified now"


class Caller:
    """Whom a token speaks for. Where you keep users, look yours up by `sub` in LatchkeyAuthentication instead."""

    is_authenticated, is_active, is_anonymous = True, True, False

    def __init__(self, sub):
        self.pk = self.sub = sub


class LatchkeyAuthentication(BaseAuthentication):
    """`request.user` is the Caller, `request.auth` the claims."""

    def authenticate(self, request):
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() != b"bearer":
            return None
        if len(rest) != 1:
            raise AuthenticationFailed("one token after Bearer")
        try:
            claims = self.verify(rest[0])
        except jwt.PyJWKClientConnectionError as error:  # Latchkey does not answer: nobody's token is at fault
            raise Unavailable from error
        except jwt.PyJWTError as error:
            raise AuthenticationFailed("invalid token") from error
        return Caller(claims["sub"]), claims

    def authenticate_header(self, request):
        return "Bearer"  # with it Django REST framework answers 401, without it 403

    def verify(self, token):
        if jwt.get_unverified_header(token).get("typ") != "at+jwt":
            raise jwt.InvalidTokenError("not an access token")
        return jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            algorithms=["ES256", "RS256"],
            issuer=settings.LATCHKEY_ISSUER,
            audience=settings.LATCHKEY_AUDIENCE,
            leeway=30,
            options={"require": ["exp", "iat", "sub", "client_id"]},
        )


class HasScope(BasePermission):
    """The token carries the view's `scope`."""

    def has_permission(self, request, view):
        return request.auth is not None and view.scope in request.auth.get("scope", "").split()
