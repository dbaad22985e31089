"""An application that checks nothing: what the run must notice (`run.py --self-test`)."""

import base64
import hashlib
import http.server
import json
import os
import secrets
import urllib.parse
import urllib.request

ISSUER, CLIENT_ID, HERE = os.environ["ISSUER"], os.environ["CLIENT_ID"], f"http://127.0.0.1:{os.environ['PORT']}"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
verifier = secrets.token_urlsafe(43)
challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
tokens = {}


def ask(url, form=None, **headers):
    body = urllib.parse.urlencode(form).encode() if form else None
    with opener.open(urllib.request.Request(url, body, headers)) as answer:
        return json.loads(answer.read())


metadata = ask(f"{ISSUER}/.well-known/openid-configuration")


def to(endpoint, **parameters):
    return f"{metadata[endpoint]}?{urllib.parse.urlencode(parameters)}"


def login(_):
    return to(
        "authorization_endpoint",
        client_id=CLIENT_ID,
        response_type="code",
        redirect_uri=f"{HERE}/callback",
        scope=os.environ["SCOPE"],
        state="same",
        nonce="same",
        code_challenge=challenge,
        code_challenge_method="S256",
    )


def token(**form):
    tokens.update(ask(metadata["token_endpoint"], form | {"client_id": CLIENT_ID}))
    return {"id_token": tokens["id_token"]}


def callback(query):
    return token(
        grant_type="authorization_code",
        code=query["code"],
        redirect_uri=f"{HERE}/callback",
        code_verifier=verifier,
    )


def userinfo(_):
    return {"claims": ask(metadata["userinfo_endpoint"], Authorization=f"Bearer {tokens['access_token']}")}


def refresh(_):
    return token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])


def logout(_):
    return to("end_session_endpoint", id_token_hint=tokens["id_token"], post_logout_redirect_uri=f"{HERE}/bye")


def bye(_):
    return {"bye": True}


STEPS = {f"/{step.__name__}": step for step in (login, callback, userinfo, refresh, logout, bye)}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path not in STEPS:
            return self.send_error(404)
        said = STEPS[url.path](dict(urllib.parse.parse_qsl(url.query)))
        self.send_response(302 if isinstance(said, str) else 200)
        if isinstance(said, str):
            self.send_header("Location", said)
        self.end_headers()
        return self.wfile.write(json.dumps(said).encode())


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
