"""A FastAPI service that takes Latchkey's access tokens. pip install -r requirements.txt && uvicorn main:app

With CLIENT_SECRET set it also asks Latchkey about each token, and so refuses a revoked one at once.
"""

import base64
import json
import os
import urllib.parse
import urllib.request
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8420")
AUDIENCE = os.environ.get("AUDIENCE", "https://api.example.com")
CLIENT_ID, CLIENT_SECRET = os.environ.get("CLIENT_ID", "api"), os.environ.get("CLIENT_SECRET")

app = FastAPI()
bearer = HTTPBearer(auto_error=False)
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json", timeout=5)


def verify(token: str) -> dict:
    """The claims of a good access token; raises jwt.PyJWTError for any other."""
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256", "RS256"],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=30,
        options={"require": ["exp", "iat", "sub", "client_id"]},
    )
    if CLIENT_SECRET and not active(token):
        raise jwt.InvalidTokenError("revoked")
    return claims


def active(token: str) -> bool:
    pair = f"{urllib.parse.quote_plus(CLIENT_ID)}:{urllib.parse.quote_plus(CLIENT_SECRET)}".encode()
    request = urllib.request.Request(
        f"{ISSUER}/oauth2/introspect",
        urllib.parse.urlencode({"token": token}).encode(),
        {"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["active"] is True


# Plain `def`, not `async def`: FastAPI gives it a thread, where fetching keys blocks nobody else.
def caller(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> dict:
    if credentials is None:
        raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    try:
        return verify(credentials.credentials)
    except (jwt.PyJWKClientConnectionError, OSError) as error:  # Latchkey does not answer: nobody's token is at fault
        raise HTTPException(503, "tokens cannot be verified now") from error
    except jwt.PyJWTError as error:
        raise HTTPException(401, "invalid token", {"WWW-Authenticate": 'Bearer error="invalid_token"'}) from error


def scope(wanted: str):
    def check(claims: Annotated[dict, Depends(caller)]) -> dict:
        if wanted not in claims.get("scope", "").split():
            said = f'Bearer error="insufficient_scope", scope="{wanted}"'
            raise HTTPException(403, "insufficient scope", {"WWW-Authenticate": said})
        return claims

    return Depends(check)


@app.get("/me")
def me(claims: Annotated[dict, scope("read")]) -> dict:
    return {"sub": claims["sub"], "scope": claims["scope"]}
