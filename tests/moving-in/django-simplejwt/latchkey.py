"""Latchkey's access tokens as one more of simplejwt's AUTH_TOKEN_CLASSES."""

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import Token


class LatchkeyToken(Token):
    """simplejwt looks the user up by `user_id`, which Latchkey's claim mapping puts in."""

    token_type = "at+jwt"
    lifetime = 0  # simplejwt wants one, for tokens that it makes
    _token_backend = TokenBackend(
        "ES256",
        issuer=settings.LATCHKEY_ISSUER,
        audience=settings.LATCHKEY_AUDIENCE,
        jwk_url=f"{settings.LATCHKEY_ISSUER}/.well-known/jwks.json",
        leeway=30,
    )

    def verify_token_type(self):
        if jwt.get_unverified_header(self.token).get("typ") != self.token_type:
            raise TokenError("not an access token")
