"""HS256 and HS512 by hand, for tokens that no original would issue."""

import base64
import hmac
import json


def part(members):
    return encoded(json.dumps(members).encode())


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(claims, secret, alg="HS256"):
    signed = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims)}"
    return f"{signed}.{encoded(hmac.digest(secret.encode(), signed.encode(), f'sha{alg[2:]}'))}"


def unsigned(claims):
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
