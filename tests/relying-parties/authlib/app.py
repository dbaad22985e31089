"""A Flask application whose users sign in at Latchkey, with Authlib. It has one visitor, whose tokens it keeps."""

import os
import secrets

from authlib.integrations.flask_client import OAuth
from flask import Flask, jsonify, url_for

ISSUER = os.environ["ISSUER"]

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)
tokens = {}


def keep(token, **_):
    tokens.update(token)


oauth = OAuth(app, update_token=lambda _, token, **more: keep(token))
latchkey = oauth.register(
    "latchkey",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_kwargs={
        "scope": os.environ["SCOPE"],
        "code_challenge_method": "S256",
        "token_endpoint_auth_method": "client_secret_post",
    },
)
# Authlib believes the document about who issued it. So it is told whom to expect.
claims_options = {"iss": {"essential": True, "values": [ISSUER]}}


@app.get("/login")
def login():
    return latchkey.authorize_redirect(url_for("callback", _external=True))


@app.get("/callback")
def callback():
    token = latchkey.authorize_access_token(claims_options=claims_options)
    keep(token)
    return jsonify(claims=token["userinfo"])


@app.get("/userinfo")
def userinfo():
    return jsonify(claims=latchkey.userinfo(token=tokens))


@app.get("/refresh")
def refresh():
    # A token that has expired is renewed before it is used.
    latchkey.userinfo(token=tokens | {"expires_at": 1})
    return jsonify(claims=latchkey.parse_id_token(tokens, nonce=None, claims_options=claims_options))


@app.get("/logout")
def logout():
    return latchkey.logout_redirect(url_for("bye", _external=True), id_token_hint=tokens["id_token"])


@app.get("/bye")
def bye():
    latchkey.validate_logout_response()
    tokens.clear()
    return jsonify(bye=True)


@app.errorhandler(Exception)
def refused(error):
    return jsonify(refused=f"{type(error).__name__}: {error}"), getattr(error, "code", None) or 401


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
