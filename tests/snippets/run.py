#!/usr/bin/env python3
"""Runs the examples of README.md against a Latchkey.

Every fenced block under a `<!-- snippet: NAME -->` is taken out of README.md and used as it stands, but for the port:
the two files configure the service, the shell blocks are run, the verifiers get good tokens and bad ones. The bad ones
are signed by a key that the service publishes (it was imported), so that nothing but the snippet's own checks can
refuse them. A snippet that nobody runs fails the run.

Wants PyJWT with cryptography, so run it with the Python of tests/verifiers. `--tools` is where ./check has installed
the verification libraries.
"""

import argparse
import base64
import hmac
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AUDIENCE = "https://api.example.com"
PORT = "127.0.0.1:8420"


def snippets(text):
    found = re.findall(r"<!-- snippet: (\S+) -->\n```\w+\n(.*?)\n```", text, re.DOTALL)
    marked = text.count("<!-- snippet:")
    assert found and len(found) == marked == len(dict(found)), "a snippet's mark stands before its block, each name once"
    return {name: body + "\n" for name, body in found}


class Service:
    """`latchkey serve` in a folder of its own, configured by the two files of README.md."""

    def __init__(self, binary, folder, files):
        self.folder, self.admin_secret = folder, secrets.token_urlsafe(36)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.issuer = f"http://{self.address}"
        for name in ("latchkey.toml", "bootstrap.json"):
            (folder / name).write_text(self.here(files[name]))
            (folder / name).chmod(0o600)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("LATCHKEY_")}
        self.environment |= {
            "LATCHKEY__BOOTSTRAP__ADMIN_SECRET": self.admin_secret,
            # A standby is ripe as soon as it is there: rotations are not what is tested here.
            "LATCHKEY__KEYS__MIN_PUBLICATION": "0s",
            "LATCHKEY__KEYS__PUBLICATION_MARGIN": "0s",
            "LATCHKEY__KEYS__JWKS_MAX_AGE": "0s",
            "PATH": f"{binary.parent}:{os.environ['PATH']}",
            "no_proxy": "127.0.0.1",
        }
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [binary, "serve"], cwd=folder, env=self.environment, stdout=self.log, stderr=self.log
        )
        give_up = time.monotonic() + 60
        while True:
            try:
                if self.call("GET", "/health/ready")[0] == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.log.seek(0)
                sys.exit(f"the service did not become ready:\n{self.log.read()}")
            time.sleep(0.1)

    def here(self, text):
        """The text with the port that is really used."""
        return text.replace(PORT, self.address)

    def call(self, method, path, body=None, form=None, basic=None, bearer=None):
        headers = {}
        if form is not None:
            body, headers["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
        elif body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        if basic:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def good(self, *args, **kwargs):
        status, body = self.call(*args, **kwargs)
        assert status in (200, 201, 202), f"{args}: {status} {body}"
        return body

    def admin(self, method, path, body=None):
        form = {"grant_type": "client_credentials", "scope": "admin"}
        token = self.good("POST", "/oauth2/token", form=form, basic=("latchkey-admin", self.admin_secret))
        return self.good(method, f"/admin/v1{path}", body=body, bearer=token["access_token"])

    def login(self, client_id, secret=None):
        form = {"grant_type": "password", "username": "alice", "password": "down-the-rabbit-hole"}
        if secret is None:
            return self.good("POST", "/oauth2/token", form=form | {"client_id": client_id})
        return self.good("POST", "/oauth2/token", form=form, basic=(client_id, secret))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "the service did not stop in order"


# --- tokens ----------------------------------------------------------------------------------------------


def tokens(service, files):
    """Good tokens and bad ones, each with a name. The bad ones of a kind that only `typ` tells are apart."""
    web = json.loads(files["bootstrap.json"])["clients"][0]
    web_rs = web | {"client_id": "web-rs", "access_token_signed_response_alg": "RS256"}
    service.admin("POST", "/clients", web_rs)

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    service.admin("POST", "/keys/import", {"pem": pem})
    service.admin("POST", "/keys/rotate", {"alg": "ES256", "mode": "now", "force": True})

    good = {
        "ES256": service.login("web", web["client_secret"])["access_token"],
        "RS256": service.login("web-rs", web["client_secret"])["access_token"],
    }
    assert [jwt.get_unverified_header(token)["alg"] for token in good.values()] == list(good)
    header = jwt.get_unverified_header(good["ES256"])
    claims = jwt.decode(good["ES256"], options={"verify_signature": False})
    good["ES256, the imported key"] = forge(key, header, claims)
    good["one audience of two"] = forge(key, header, claims | {"aud": ["https://other.example.com", AUDIENCE]})

    now = int(time.time())
    head, body, signature = good["ES256"].split(".")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bad = {
        "another issuer": forge(key, header, claims | {"iss": "https://elsewhere.example.com"}),
        "another audience": forge(key, header, claims | {"aud": "https://other.example.com"}),
        "no audience": forge(key, header, without(claims, "aud")),
        "expired": forge(key, header, claims | {"iat": now - 7200, "exp": now - 3600}),
        "no expiry": forge(key, header, without(claims, "exp")),
        "other claims": ".".join([head, b64(claims | {"sub": "usr_mallory"}), signature]),
        "another key's signature": forge(ec.generate_private_key(ec.SECP256R1()), header, claims),
        "no signature": ".".join([b64(header | {"alg": "none"}), body, ""]),
        "HS256 under the public key": hs256(public, header | {"alg": "HS256"}, claims),
        "an unknown kid": forge(key, header | {"kid": "nobody"}, claims),
        "garbage": "not.a.token",
    }
    other_type = {
        "typ JWT": forge(key, header | {"typ": "JWT"}, claims),
        "no typ": forge(key, without(header, "typ"), claims),
    }
    return good, bad, other_type


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def without(members, name):
    return {key: value for key, value in members.items() if key != name}


def forge(key, header, claims):
    signed = f"{b64(header)}.{b64(claims)}"
    return f"{signed}.{b64(jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(signed.encode(), key))}"


def hs256(public, header, claims):
    signed = f"{b64(header)}.{b64(claims)}"
    return f"{signed}.{b64(hmac.digest(public, signed.encode(), 'sha256'))}"


# --- verifiers: each reads tokens line by line and answers `ok` or why not -----------------------------------

PYTHON_MAIN = """
import sys
for line in sys.stdin:
    try:
        print("ok", verify(line.strip())["sub"], flush=True)
    except jwt.PyJWTError as error:
        print("no", error, flush=True)
"""

NODE_MAIN = """
import { createInterface } from "node:readline";
import { verify } from "./verify.mjs";
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log("ok", (await verify(line)).sub);
  } catch (error) {
    console.log("no", error.message);
  }
}
"""

JAVA_MAIN = """
public final class Main {
    public static void main(String[] args) throws Exception {
        var tokens = %s;
        var in = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                System.out.println("ok " + %s);
            } catch (Exception error) {
                System.out.println("no " + error.getMessage());
            }
        }
        System.exit(0);
    }
}
"""

SPRING_HEAD = """
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import java.util.List;
import java.util.Objects;
import org.springframework.context.annotation.Bean;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.*;

class Configuration {
"""

GO_MAIN = """
package main

import ("bufio"; "context"; "fmt"; "os")

func main() {
	verify, err := VERIFIER
	if err != nil { panic(err) }
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if sub, err := verify(lines.Text()); err != nil { fmt.Println("no", fmt.Sprintf("%q", err)) } else { fmt.Println("ok", sub) }
	}
}
"""

KEYFUNC = """func() (func(string) (string, error), error) {
		check, err := newVerifier(context.Background())
		return func(token string) (string, error) { claims, err := check(token); if err != nil { return "", err }; return claims.GetSubject() }, err
	}()"""

GO_OIDC = """func() (func(string) (string, error), error) {
		check := newOIDCVerifier(context.Background(), "http://%s", "%s")
		return func(token string) (string, error) { read, err := check.Verify(context.Background(), token); if err != nil { return "", err }; return read.Subject, nil }, nil
	}()""" % (PORT, AUDIENCE)


def run(command, folder, **options):
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(files, folder, tools):
    (folder / "verify.py").write_text(files["verify.py"] + PYTHON_MAIN)
    return [sys.executable, "verify.py"]


def node(files, folder, tools):
    (folder / "verify.mjs").write_text(files["verify.mjs"])
    (folder / "main.mjs").write_text(NODE_MAIN)
    (folder / "node_modules").symlink_to(tools / "node/node_modules")
    return ["node", "main.mjs"]


def java(files, folder, tools):
    (folder / "AccessTokens.java").write_text(files["AccessTokens.java"])
    made = f'new AccessTokens("{files["issuer"]}", "{AUDIENCE}")'
    (folder / "Main.java").write_text(JAVA_MAIN % (made, "tokens.verify(line).getSubject()"))
    return compiled(folder, f"{tools}/java/lib/*")


def spring(files, folder, tools):
    (folder / "Configuration.java").write_text(SPRING_HEAD + files["LatchkeyDecoder.java"] + "}\n")
    (folder / "Main.java").write_text(
        JAVA_MAIN % ("new Configuration().jwtDecoder()", "tokens.decode(line).getSubject()")
    )
    lib = tools / "spring/lib"
    run(["mvn", "--quiet", "--batch-mode", "-Dstyle.color=never", f"-Dout={lib.parent}", "compile"], HERE / "spring")
    return compiled(folder, f"{lib}/*")


def compiled(folder, path):
    run(["javac", "-nowarn", "-d", "classes", "-cp", path, *[each.name for each in folder.glob("*.java")]], folder)
    return ["java", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", f"classes:{path}", "Main"]


def go(module, snippet, main):
    def prepare(files, folder, tools):
        for name in ("go.mod", "go.sum"):
            shutil.copy(ROOT / "tests/verifiers" / module / name, folder)
        (folder / "snippet.go").write_text(files[snippet])
        (folder / "main.go").write_text(GO_MAIN.replace("VERIFIER", main.replace(f"http://{PORT}", files["issuer"])))
        run(["go", "build", "-o", "verify", "."], folder, env=os.environ | {"GOFLAGS": "-mod=readonly"})
        return ["./verify"]

    return prepare


# Name: the snippet, what prepares it, whether it looks at `typ`.
VERIFIERS = {
    "PyJWT": ("verify.py", python, True),
    "jose": ("verify.mjs", node, True),
    "nimbus": ("AccessTokens.java", java, True),
    "spring": ("LatchkeyDecoder.java", spring, True),
    "keyfunc": ("verify.go", go("go-keyfunc", "verify.go", KEYFUNC), True),
    "go-oidc": ("oidc.go", go("go-oidc", "oidc.go", GO_OIDC), False),
}


def verify_all(name, command, folder, good, bad):
    answers = run(command, folder, input="\n".join([*good.values(), *bad.values()]) + "\n", timeout=120).splitlines()
    assert len(answers) == len(good) + len(bad), answers
    wrong = []
    for (case, _), answer in zip([*good.items(), *bad.items()], answers, strict=True):
        if answer.startswith("ok") != (case in good):
            wrong.append(f"  {case}: {answer}")
    assert not wrong, f"{name}:\n" + "\n".join(wrong)
    return f"{len(good)} tokens taken, {len(bad)} refused"


# --- the other snippets ----------------------------------------------------------------------------------


def shell(service, text):
    return run(["bash", "-euo", "pipefail", "-c", service.here(text)], service.folder, env=service.environment)


def talk(service, text):
    answers, rest = [], shell(service, text).strip()
    while rest:
        answer, end = json.JSONDecoder().raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].strip()
    renewed, seen = answers[:2]
    assert renewed["refresh_token"].startswith("lkr_") and renewed["token_type"] == "Bearer", renewed
    assert seen["active"] is True and seen["client_id"] == "web" and AUDIENCE in seen["aud"], seen
    form = {"token": renewed["access_token"]}
    after = service.good("POST", "/oauth2/introspect", form=form, basic=("web", "web-secret-of-at-least-32-characters"))
    assert after == {"active": False}, f"the session was revoked: {after}"
    return "logged in, renewed, introspected, revoked"


RENEW_MAIN = """
import assert from "node:assert/strict";
import { renew } from "./renew.mjs";
const session = JSON.parse(process.argv[2]);
const real = globalThis.fetch;
let calls = 0, lost;
globalThis.fetch = async (...request) => {
  const answer = await real(...request);
  if (++calls > 1) return answer;
  lost = await answer.json();
  throw new TypeError("the connection broke");
};
const saved = [];
const save = async (next) => void saved.push(next);
const [first, second] = await Promise.all([renew(session, save), renew(session, save)]);
assert.equal(calls, 2, "one lost, one retried");
assert.equal(saved.length, 1);
assert.equal(first, second);
assert.equal(first.refresh_token, lost.refresh_token, "the lost answer is given again");
assert.notEqual(first.refresh_token, session.refresh_token);
const third = await renew(first, save);
assert.notEqual(third.refresh_token, first.refresh_token);
await assert.rejects(renew(session, save), /reused_after_window/);
await assert.rejects(renew(third, save), /reused_after_window/);
"""


def renew(service, text, folder):
    service.admin(
        "POST",
        "/clients",
        {
            "client_id": "app",
            "token_endpoint_auth_method": "none",
            "grant_types": ["password", "refresh_token"],
            "scope": "read",
        },
    )
    (folder / "renew.mjs").write_text(text)
    (folder / "main.mjs").write_text(RENEW_MAIN)
    session = service.login("app") | {"issuer": service.issuer, "client_id": "app"}
    run(["node", "main.mjs", json.dumps(session)], folder, timeout=60)
    return "a lost answer, its retry, one renewal at a time, a replay"


def rotate(service, text):
    def active():
        keys = service.admin("GET", "/keys")["items"]
        return next(key["kid"] for key in keys if key["alg"] == "ES256" and key["state"] == "active")

    before = active()
    shell(service, text.replace("SECRET=...", f"SECRET={service.admin_secret}"))
    assert active() != before
    return "listed, rotated twice, a compromise rehearsed"


# --------------------------------------------------------------------------------------------------------


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/verifiers")
    arguments.add_argument("--only", default=",".join(VERIFIERS), help="verifiers, separated by commas")
    args = arguments.parse_args()
    only = [name for name in args.only.split(",") if name]
    assert set(only) <= set(VERIFIERS), f"--only takes {', '.join(VERIFIERS)}"
    tools, binary = args.tools.resolve(), args.binary.resolve()

    files = snippets((ROOT / "README.md").read_text())
    used = {"latchkey.toml", "bootstrap.json"} | {snippet for snippet, _, _ in VERIFIERS.values()}
    failed = 0

    def step(name, work):
        nonlocal failed
        used.add(name)
        try:
            print(f"ok    {name}: {work()}", flush=True)
        except (AssertionError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)

    with tempfile.TemporaryDirectory(prefix="latchkey-snippets.") as place:
        place = pathlib.Path(place)

        def folder(name):
            (place / name).mkdir()
            return place / name

        service = Service(binary, folder("service"), files)
        try:
            here = {name: service.here(text) for name, text in files.items()} | {"issuer": service.issuer}
            if all(map(shutil.which, ("curl", "jq"))):
                step("talk.sh", lambda: talk(service, files["talk.sh"]))
            else:
                used.add("talk.sh")
                print("SKIP  talk.sh: no curl or no jq")
            if shutil.which("node"):
                step("renew.mjs", lambda: renew(service, files["renew.mjs"], folder("renew")))
            else:
                used.add("renew.mjs")
                print("SKIP  renew.mjs: no Node")
            good, bad, other_type = tokens(service, files)
            for name in only:
                snippet, prepare, looks_at_typ = VERIFIERS[name]
                place_of = folder(name)
                refused = bad | other_type if looks_at_typ else bad
                step(
                    f"{snippet} ({name})",
                    lambda: verify_all(name, prepare(here, place_of, tools), place_of, good, refused),
                )
            step("rotate.sh", lambda: rotate(service, files["rotate.sh"]))
            unused = set(files) - used
            assert not unused, f"nobody runs {', '.join(sorted(unused))}"
        finally:
            service.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
