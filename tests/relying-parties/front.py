"""The address of the issuer: a door in front of Latchkey that sees how clients authenticate, and can be made to lie."""

import base64
import collections
import json
import urllib.parse

from harness import Answer, Door, read


class Front(Door):
    def __init__(self, port):
        super().__init__(port)
        self.lie = None  # takes the members of a token answer and gives others
        self.asked = collections.Counter()  # by path
        self.methods = collections.defaultdict(set)  # by client: what it authenticated by
        self.answers = {}  # by client: the members of its last token answer

    def told(self, path, headers, body, answer):
        self.asked[path] += 1
        if path != "/oauth2/token":
            return answer
        client, method = shown(headers, dict(urllib.parse.parse_qsl((body or b"").decode())))
        if answer.status != 200:
            return answer  # x/oauth2 tries out whether a secret is wanted in the header or in the form
        self.methods[client].add(method)
        self.answers[client] = members = answer.json()
        if self.lie is None:
            return answer
        return Answer(answer.status, answer.headers, json.dumps(self.lie(members)).encode())


def shown(headers, form):
    """Who asks, and the `token_endpoint_auth_method` that shows it."""
    given = headers.get("Authorization", "")
    if given.startswith("Basic "):
        name = base64.b64decode(given.removeprefix("Basic ")).decode().split(":")[0]
        return urllib.parse.unquote_plus(name), "client_secret_basic"
    if "client_assertion" in form:
        header, claims = read(form["client_assertion"])
        return claims["sub"], "client_secret_jwt" if header["alg"].startswith("HS") else "private_key_jwt"
    return form.get("client_id"), "client_secret_post" if "client_secret" in form else "none"


def tampered(members):
    """The ID token has another claim under the signature."""
    head, _, signature = members["id_token"].split(".")
    claims = json.dumps(read(members["id_token"])[1] | {"role": "admin"}).encode()
    return members | {"id_token": f"{head}.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.{signature}"}
