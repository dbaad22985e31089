"""What a compatibility endpoint is asked, and how two answers to it are compared.

The same requests go to the original before the switch and to Latchkey after it, at the same paths. A token in a body is
named (`{"refresh": Token("refresh")}`): each side has tokens of its own in the same state.
"""

import json
import re
import urllib.parse

FORM = "application/x-www-form-urlencoded"
JWT = re.compile(r"^[\w-]+\.[\w-]+\.[\w-]*$")
HEADERS = ("Content-Type", "WWW-Authenticate", "Allow")


class Token(str):
    """A token by its name in the table of the side that is asked."""


def post(path, members, **more):
    return {"method": "POST", "path": path, "members": members} | more


def raw(path, body, kind="application/json"):
    return {"method": "POST", "path": path, "raw": body, "kind": kind}


def malformed(path):
    """What every one of these endpoints is to refuse alike."""
    return {
        "GET": {"method": "GET", "path": path},
        "PUT": {"method": "PUT", "path": path, "members": {}},
        "no body": {"method": "POST", "path": path},
        "empty object": raw(path, b"{}"),
        "malformed JSON": raw(path, b"{username: x"),
        "empty JSON": raw(path, b""),
        "not UTF-8": raw(path, b'{"username": "\xff"}'),
        "a JSON array": raw(path, b"[1]"),
        "a JSON string": raw(path, b'"x"'),
        "JSON null": raw(path, b"null"),
        "text/plain": raw(path, b"{}", "text/plain"),
        "XML": raw(path, b"<a/>", "application/xml"),
    }


def field(path, name, others):
    """What is refused in one text field of a request that is otherwise `others`."""
    return {
        f"no {name}": post(path, others),
        f"{name} null": post(path, others | {name: None}),
        f"{name} empty": post(path, others | {name: ""}),
        f"{name} blank": post(path, others | {name: "   "}),
        f"{name} an object": post(path, others | {name: {"a": 1}}),
        f"{name} a list": post(path, others | {name: ["a"]}),
        f"{name} true": post(path, others | {name: True}),
        f"{name} a NUL": post(path, others | {name: "a\0b"}),
    }


def login(path, user):
    name, password = user["username"], user["password"]
    return {
        "good": post(path, {"username": name, "password": password}),
        "good, as a form": post(path, {"username": name, "password": password}, form=True),
        "good, with more fields": post(path, {"username": name, "password": password, "remember": True}),
        "wrong password": post(path, {"username": name, "password": "not-it"}),
        "password in capitals": post(path, {"username": name, "password": password.upper()}),
        "unknown user": post(path, {"username": "nobody-of-that-name", "password": password}),
        "inactive user": post(path, {"username": "inactive", "password": password}),
        "password a number": post(path, {"username": name, "password": 12345}),
        **field(path, "username", {"password": password}),
        **field(path, "password", {"username": name}),
        **malformed(path),
    }


def token(path, name, states):
    return {
        **{state: post(path, {name: Token(state)}) for state in states},
        f"{states[0]}, as a form": post(path, {name: Token(states[0] + ", again")}, form=True),
        "garbage": post(path, {name: "not.a.token"}),
        "one word": post(path, {name: "garbage"}),
        f"{name} a number": post(path, {name: 1}),
        **field(path, name, {}),
        **malformed(path),
    }


def send(side, case, tokens):
    """`side.ask` with a case, its tokens filled in."""
    headers, body = {}, None
    if "raw" in case:
        body, headers = case["raw"], {"Content-Type": case["kind"]}
    elif "members" in case:
        members = {k: tokens[v] if isinstance(v, Token) else v for k, v in case["members"].items()}
        if case.get("form"):
            body, headers = urllib.parse.urlencode(members), {"Content-Type": FORM}
        else:
            body, headers = json.dumps(members), {"Content-Type": "application/json"}
    return side.ask(case["method"], case["path"], body, headers)


def shape(answer):
    """An answer without what differs from one call to the next."""
    try:
        body = answer.json()
    except ValueError:
        body = answer.body.decode(errors="replace")
    headers = {name: answer.headers[name].split(";")[0] for name in HEADERS if answer.headers.get(name)}
    if answer.status != 405:
        headers.pop("Allow", None)  # which Django REST framework has in every answer
    return {"status": answer.status, "headers": headers, "body": plain(body)}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    if isinstance(value, str) and (JWT.match(value) or value.startswith("lkr_")):
        return "<token>"
    return value
