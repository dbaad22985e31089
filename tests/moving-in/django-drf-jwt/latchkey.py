"""Latchkey's access tokens, with the header prefix and the user lookup that drf-jwt has here."""

import jwt
from django.conf import settings
from django.contrib.auth import get_user_model
from rest_framework.authentication import get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_jwt.authentication import JSONWebTokenAuthentication

keys = jwt.PyJWKClient(f"{settings.LATCHKEY_ISSUER}/.well-known/jwks.json", timeout=5)


class LatchkeyAuthentication(JSONWebTokenAuthentication):
    """Leaves every token that is not Latchkey's to drf-jwt's own class, which comes after it."""

    def authenticate(self, request):
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() != b"jwt" or len(rest) != 1:
            return None
        token = rest[0].decode("ascii", "replace")
        try:
            if jwt.get_unverified_header(token).get("typ") != "at+jwt":
                return None
        except jwt.PyJWTError:
            return None
        try:
            claims = jwt.decode(
                token,
                keys.get_signing_key_from_jwt(token),
                algorithms=["ES256"],
                issuer=settings.LATCHKEY_ISSUER,
                audience=settings.LATCHKEY_AUDIENCE,
                leeway=30,
            )
        except jwt.ExpiredSignatureError as error:
            raise AuthenticationFailed("Token has expired.") from error
        except jwt.PyJWTError as error:
            raise AuthenticationFailed("Invalid token.") from error
        user = get_user_model().objects.filter(pk=claims.get("user_id"), is_active=True).first()
        if user is None:
            raise AuthenticationFailed("Invalid token.")
        return user, claims
