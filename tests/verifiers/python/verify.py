"""Verifies access tokens with PyJWT and its PyJWKClient, as a Python service would."""

import argparse
import json
import sys

import jwt


class CountingClient(jwt.PyJWKClient):
    """PyJWKClient, and how often it asked for the key set."""

    fetches = 0

    def fetch_data(self):
        self.fetches += 1
        return super().fetch_data()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jwks", required=True)
    arguments.add_argument("--issuer", required=True)
    arguments.add_argument("--audience", required=True)
    arguments.add_argument("--mode", choices=["default", "fast"], default="default")
    arguments.add_argument("--scale", type=float, default=1)
    args = arguments.parse_args()

    options = {}
    if args.mode == "fast":
        # What PyJWKClient keeps time by, each divided by the scale: how long a fetched set is used,
        # and how long an unknown `kid` waits after any successful fetch before it may cause another.
        # (Older releases had no cooldown at all. The network timeout is about a slow network: left alone.)
        options = {"lifespan": 300 / args.scale, "cooldown_duration": 30 / args.scale}
    client = CountingClient(args.jwks, **options)

    verified = 0
    for line in sys.stdin:
        case = json.loads(line)
        answer = {"n": case["n"], "ok": True}
        try:
            key = client.get_signing_key_from_jwt(case["token"])
            jwt.decode(
                case["token"],
                key.key,
                algorithms=["RS256", "ES256"],
                issuer=args.issuer,
                audience=args.audience,
                options={"require": ["exp", "iss", "aud"]},
            )
            verified += 1
        except Exception as error:  # whatever it is, this verifier refused the token
            answer.update(ok=False, error=f"{type(error).__name__}: {error}")
        print(json.dumps(answer), flush=True)
    print(json.dumps({"done": True, "verified": verified, "fetches": client.fetches}), flush=True)


if __name__ == "__main__":
    main()
