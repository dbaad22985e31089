"""Prints a good access token: curl -H "Authorization: Bearer $(python main.py)" https://api.example.com/me

Logs in as LOGIN with PASSWORD when there is no session in FILE, or when it is over.
"""

import os
import sys
import time

from session import LoginRequired, Session, kept, load, post, request, save_to

FILE = os.environ.get("FILE", "session.json")


def login(session):
    form = {"grant_type": "password", "username": os.environ["LOGIN"], "password": os.environ["PASSWORD"]}
    asked = time.time()
    status, _, body = post(*request(session, form), session.timeout)
    if status != 200:
        sys.exit(f"no login: {body.get('error_description', status)}")
    session.tokens = kept(body, asked)
    session.save(session.tokens)


def new_session(tokens=None):
    issuer, client_id = os.environ.get("ISSUER", "http://127.0.0.1:8420"), os.environ.get("CLIENT_ID", "app")
    return Session(issuer, client_id, tokens, save_to(FILE), os.environ.get("CLIENT_SECRET"))


try:
    session = new_session(load(FILE))
    token = session.access_token()
except (FileNotFoundError, LoginRequired) as error:
    print(f"logging in: {error}", file=sys.stderr)
    session = new_session()
    login(session)
    token = session.access_token()
print(token)
