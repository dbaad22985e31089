"""Drives examples/clients/python, whose folder is the argument, as ../driven.py says."""

import json
import os
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
from session import LoginRequired, Refused, Session, Unavailable, load, save_to  # noqa: E402

KINDS = {LoginRequired: "login_required", Refused: "refused", Unavailable: "unavailable"}
given, ahead, writing = os.environ, 0.0, threading.Lock()


def say(**members):
    with writing:
        print(json.dumps(members), flush=True)


def pause(where):
    if given.get("PAUSE") == where:
        say(paused=where)
        threading.Event().wait()


def save(tokens, to_file=save_to(given["FILE"])):
    pause("before-save")
    to_file(tokens)
    pause("after-save")


def one(refused):
    try:
        return {"token": session.access_token(refused)}
    except Exception as error:
        return {"kind": KINDS.get(type(error), "fault"), "said": str(error)}


def tokens(order):
    answers = []

    def call():
        answers.append(one(order.get("refused")))

    callers = [threading.Thread(target=call) for _ in range(order["callers"])]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    say(id=order["id"], answers=answers)


session = Session(
    given["ISSUER"], given["CLIENT_ID"], load(given["FILE"]), save, given.get("CLIENT_SECRET"),
    timeout=float(given["TIMEOUT"]), patience=float(given["PATIENCE"]),
)  # fmt: skip
session.now = lambda: time.time() + ahead
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "clock":
        ahead = order["ahead"]
        say(id=order["id"])
    else:
        threading.Thread(target=tokens, args=[order], daemon=True).start()
os._exit(0)
