#!/usr/bin/env python3
"""Moves applications to Latchkey while their clients work: no login is lost, and what is old ends when promised.

Each is a real one of the kind that Latchkey replaces, with its users, password hashes and live tokens: Django with
djangorestframework-simplejwt and with drf-jwt, Spring Boot with a token in Redis, Node with a shared HS256 secret.

`--tools` is where ./check has installed and built them.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import traceback

from django_drf_jwt import DrfJwt
from django_simplejwt import SimpleJwt
from node_hs256 import NodeHs256
from spring_redis import SpringRedis

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SWITCHES = {switch.name: switch for switch in (SimpleJwt, DrfJwt, SpringRedis, NodeHs256)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/moving-in")
    arguments.add_argument("--only", help=f"separated by commas: {', '.join(SWITCHES)}")
    arguments.add_argument("--before-only", action="store_true", help="the applications alone, without Latchkey")
    args = arguments.parse_args()
    only = args.only.split(",") if args.only is not None else list(SWITCHES)
    assert set(only) <= set(SWITCHES), f"--only takes {', '.join(SWITCHES)}"

    done, started = [], time.monotonic()
    for name in only:
        with tempfile.TemporaryDirectory(prefix="latchkey-moving-in.") as place:
            switch = SWITCHES[name](pathlib.Path(place), args.tools.resolve(), args.binary.resolve())
            begun = time.monotonic()
            try:
                switch.run(args.before_only)
            except Exception:  # one application's failure does not hide the next one's
                switch.faults.append(traceback.format_exc())
                print(switch.logs(), flush=True)
            finally:
                switch.stop()
            print(switch.report(time.monotonic() - begun), flush=True)
            done.append(switch)
    print(f"took {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if not done or any(switch.faults for switch in done) else 0)


if __name__ == "__main__":
    main()
