#!/usr/bin/env python3
"""Makes client libraries from openapi/ with openapi-generator and uses them against a Latchkey.

Both documents become a TypeScript and a Python library, with the generator's own settings but for the names of the
packages. The compilers judge them together with a program in that language that calls every operation, and the
program is run against a service of its own. What would make a library ugly or wrong without stopping the program fails
the run as well: a schema that a generator has to rename, a member without a type, a moment that is a mere string, an
error without a body.

What is generated is kept in `--tools`, where ./check has installed the generator and the compilers, and made again when
a document changes.
"""

import argparse
import hashlib
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

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GENERATOR = "41ce4f6b07f196676439d710759fa1ced7a08066d06ff1bf314681470289efae"  # SHA-256 of what pom.xml names
DOCUMENTS = ("public", "admin")
AUDIENCES = ["https://api.example.com", "https://other.example.com"]

# What a program reports, in this order. One that stops early or leaves one out has failed.
STEPS = [
    "discovery",
    "health",
    "an admin token",
    "a client",
    "a user",
    "login",
    "introspection",
    "userinfo",
    "renewal",
    "exchange",
    "a reason",
    "sessions",
    "sign-ins",
    "revocation",
    "errors",
    "keys",
    "the audit trail",
    "endings",
    "metrics",
]

# Operations that no round calls, and why.
NOT_CALLED = {}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/latchkey")
    arguments.add_argument("--tools", type=pathlib.Path, default=ROOT / ".check/sdk")
    arguments.add_argument("--documents", type=pathlib.Path, default=ROOT / "openapi", help="to see a changed one fail")
    arguments.add_argument("--only", default=",".join(LANGUAGES), help="languages, separated by commas")
    args = arguments.parse_args()
    only = [name for name in args.only.split(",") if name]
    assert only and set(only) <= set(LANGUAGES), f"--only takes {', '.join(LANGUAGES)}"
    started, tools = time.monotonic(), args.tools.resolve()
    documents = {name: Document(args.documents / f"{name}.json") for name in DOCUMENTS}
    languages = [LANGUAGES[name](tools / name) for name in only]

    faults = {"documents": [fault for document in documents.values() for fault in document.faults()]}
    made = generate(tools / "generator/openapi-generator.jar", documents, languages)
    print(f"{made} libraries generated, {len(languages) * len(documents) - made} kept", flush=True)
    done = {}
    with tempfile.TemporaryDirectory(prefix="latchkey-sdk.") as place:
        for language in languages:
            faults[language.name] = found = []
            try:
                found += language.faults(documents)
                language.compile()
                done[language.name] = rounds(language, args.binary.resolve(), pathlib.Path(place) / language.name)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                found.append(str(error))

    operations = sum(len(document.operations()) for document in documents.values())
    schemas = sum(len(document.schemas()) for document in documents.values())
    done["documents"] = f"{operations} operations, {schemas} schemas"
    for name, found in faults.items():
        print(f"{'FAIL' if found else 'ok':<6}{name:<12}{'see below' if found else done[name]}")
    for name, found in faults.items():
        for fault in found:
            print("\n".join(f"      {name}: {line}" for line in fault.splitlines()))
    print(f"took {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if any(faults.values()) else 0)


# --- the documents ---------------------------------------------------------------------------------------


class Document:
    """An OpenAPI document, and what in it would spoil a library made of it."""

    def __init__(self, path):
        self.path, self.name = path.resolve(), path.stem
        self.bytes = path.read_bytes()
        self.json = json.loads(self.bytes)

    def operations(self):
        return {
            operation["operationId"]: (path, operation)
            for path, methods in self.json["paths"].items()
            for operation in methods.values()
        }

    def schemas(self):
        return self.json["components"]["schemas"]

    def faults(self):
        found = []
        for name, (path, operation) in self.operations().items():
            if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name):
                found.append(f"{self.name}: the operation {name} is not in camelCase")
            if not path.startswith("/health/") and "429" not in operation["responses"]:
                found.append(f"{self.name}: {name} does not say that it answers 429 under server.rate_limit")
            found += [f"{self.name}: {name}: {fault}" for fault in self.answer_faults(operation)]
            found += [f"{self.name}: {name}: {fault}" for fault in self.form_faults(operation)]
        for schema, shape in self.schemas().items():
            words = [word for word in shape.get("enum", []) if not re.fullmatch(r"\w+", word)]
            if words and len(shape.get("x-enum-varnames", [])) != len(shape["enum"]):
                found.append(f"{self.name}: {schema} gives {', '.join(words)} no name of its own (x-enum-varnames)")
            for member, what in shape.get("properties", {}).items():
                found += [f"{self.name}: {schema}.{member} {fault}" for fault in member_faults(member, what)]
        return found

    @staticmethod
    def answer_faults(operation):
        for status, answer in operation["responses"].items():
            shapes = [content.get("schema", {}) for content in answer.get("content", {}).values()]
            if status >= "400" and shapes != [{"$ref": "#/components/schemas/ErrorBody"}]:
                yield f"the body of its {status} is not an ErrorBody"
            if any("$ref" not in shape and shape.get("type") != "string" for shape in shapes):
                yield f"the body of its {status} has no name"

    def form_faults(self, operation):
        """Generators join a list with commas, unless the document says that every item is a parameter of its own."""
        body = operation.get("requestBody", {}).get("content", {}).get("application/x-www-form-urlencoded", {})
        shape = self.schemas().get(body.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
        for member, what in shape.get("properties", {}).items():
            if what.get("type") == "array" and body.get("encoding", {}).get(member, {}).get("explode") is not True:
                yield f"the form's list {member} has no encoding with explode"


def member_faults(name, what):
    if not {"type", "$ref", "allOf", "oneOf", "anyOf"} & set(what):
        yield "has no type"
    is_moment = re.fullmatch(r"at|.*_(at|time|until)", name) and what.get("type") == "string"
    if is_moment and what.get("format") != "date-time":
        yield "is a moment and no date-time"


# --- the libraries ---------------------------------------------------------------------------------------


class Language:
    """Where its libraries and its program are, how they are made, compiled and run."""

    name = generator = program = ""

    def __init__(self, folder):
        self.folder = folder

    def library(self, document):
        """The folder that the generator fills."""
        return self.folder / "sdk" / document

    def settings(self, document):
        return {"generatorName": self.generator, "outputDir": str(self.library(document))} | self.package(document)

    def models(self, document):
        """The names of the classes that the document's schemas became."""
        raise NotImplementedError

    def calls(self, operation):
        """How the program calls an operation, as a pattern."""
        raise NotImplementedError

    def faults(self, documents):
        found, text = [], (HERE / self.name / self.program).read_text()
        for document in documents.values():
            models = self.models(document.name)
            if "ErrorBody" not in models:
                found.append(f"{document.name}: there is no class ErrorBody")
            renamed = sorted(models - set(document.schemas()))
            found += [f"{document.name}: the class {name} is none of the document's schemas" for name in renamed]
            for operation in document.operations():
                if operation not in NOT_CALLED and not re.search(self.calls(operation), text):
                    found.append(f"{document.name}: {self.program} does not call {operation}")
        return found

    def compile(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def environment(self):
        return environment()

    def run(self, command, **more):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment() | more, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{tail(done.stdout)}"
        return done.stdout


class TypeScript(Language):
    name, generator, program = "typescript", "typescript-fetch", "round.ts"

    def package(self, document):
        return {"additionalProperties": {"importFileExtension": ".js"}}

    def models(self, document):
        return {path.stem for path in (self.library(document) / "models").glob("*.ts")} - {"index"}

    def calls(self, operation):
        return rf"\.{operation}(Raw)?\("

    def compile(self):
        for name in (self.program, "tsconfig.json"):
            shutil.copy(HERE / self.name / name, self.folder)
        self.run(["node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"])

    def command(self):
        return ["node", "--enable-source-maps", "built/round.js"]


class Python(Language):
    name, generator, program = "python", "python", "round.py"

    def package(self, document):
        return {"packageName": self.package_name(document)}

    @staticmethod
    def package_name(document):
        return "latchkey" if document == "public" else f"latchkey_{document}"

    def models(self, document):
        index = self.library(document) / self.package_name(document) / "models/__init__.py"
        return set(re.findall(r"^from \S+ import (\w+)$", index.read_text(), re.MULTILINE))

    def calls(self, operation):
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        return rf"\.{snake}(_with_http_info)?\("

    def compile(self):
        for name in (self.program, "mypy.ini"):
            shutil.copy(HERE / self.name / name, self.folder)
        libraries = [option for name in DOCUMENTS for option in ("--package", self.package_name(name))]
        self.run(["venv/bin/python", "-m", "mypy", "--module", "round", *libraries])

    def command(self):
        return ["venv/bin/python", self.program]

    def environment(self):
        path = os.pathsep.join(str(place) for place in (self.folder, *map(self.library, DOCUMENTS)))
        return environment(PYTHONPATH=path, MYPYPATH=path)


LANGUAGES = {"typescript": TypeScript, "python": Python}


def generate(jar, documents, languages):
    """Fills the folders whose document or settings changed. Returns how many."""
    stale = {}
    for language in languages:
        for document in documents.values():
            settings, library = language.settings(document.name), language.library(document.name)
            made_of = f"{GENERATOR} {json.dumps(settings)} {hashlib.sha256(document.bytes).hexdigest()}"
            stamp = library / ".made-of"
            if not stamp.is_file() or stamp.read_text() != made_of:
                stale[stamp] = (settings | {"inputSpec": str(document.path)}, made_of)
    if not stale:
        return 0
    assert jar.is_file(), f"{jar} is missing: ./check sdk installs it"
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    assert digest == GENERATOR, f"{jar} is not the generator that pom.xml names: its SHA-256 is {digest}"
    with tempfile.TemporaryDirectory(prefix="latchkey-generate.") as place:
        files = []
        for stamp, (settings, _) in stale.items():
            shutil.rmtree(stamp.parent, ignore_errors=True)
            files.append(pathlib.Path(place) / f"{len(files)}.json")
            files[-1].write_text(json.dumps(settings))
        batch = ["batch", "--fail-fast", "--threads", "2", "--", *files]
        done = subprocess.run(
            ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", jar, *batch],
            cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"the generator ended with {done.returncode}\n{tail(done.stdout)}"
    for stamp, (_, made_of) in stale.items():
        assert stamp.parent.is_dir(), f"the generator left {stamp.parent} out\n{tail(done.stdout)}"
        stamp.write_text(made_of)
    return len(stale)


# --- the rounds ------------------------------------------------------------------------------------------


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LATCHKEY_", "PYTHON", "MYPY"))}
    return kept | {"no_proxy": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"} | more


def tail(text):
    return "\n".join(text.splitlines()[-25:])


def rounds(language, binary, folder):
    """Runs the language's program against a service of its own."""
    service = Latchkey(binary, folder)
    try:
        more = {"ISSUER": service.issuer, "ADMIN_SECRET": service.admin_secret, "API_SECRET": service.api_secret}
        said = language.run(language.command(), **more).splitlines()
    except AssertionError as error:
        raise AssertionError(f"{error}\nthe end of Latchkey's log:\n{service.tail()}") from error
    finally:
        service.stop()
    walked = [line.removeprefix("ok ") for line in said if line.startswith("ok ")]
    assert walked == STEPS, f"it reports the steps {', '.join(walked) or 'none'}\n" + tail("\n".join(said))
    return f"compiled, {len(walked)} steps walked"


class Latchkey:
    def __init__(self, binary, folder):
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.issuer, self.log = f"http://{self.address}", folder / "log"
        self.admin_secret, self.api_secret = secrets.token_urlsafe(36), secrets.token_urlsafe(36)
        api = {
            "client_id": "api",
            "client_secret": self.api_secret,
            "resource_identifiers": AUDIENCES,
            # It may call the second in a user's name.
            "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "scope": "read",
            "audience": AUDIENCES[1:],
        }
        bootstrap = folder / "bootstrap.json"
        bootstrap.write_text(json.dumps({"clients": [api]}))
        bootstrap.chmod(0o600)
        settings = {
            "SERVER__LISTEN": self.address,
            "BOOTSTRAP__ADMIN_SECRET": self.admin_secret,
            "BOOTSTRAP__FILE": str(bootstrap),
        }
        env = environment(**{f"LATCHKEY__{key}": value for key, value in settings.items()})
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(binary), "serve"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        give_up = time.monotonic() + 60
        while not self.is_ready():
            assert self.process.poll() is None, f"Latchkey ended with {self.process.returncode}:\n{self.tail()}"
            if time.monotonic() > give_up:
                self.stop()
                raise AssertionError(f"Latchkey is not ready within 60 s:\n{self.tail()}")
            time.sleep(0.1)

    def is_ready(self):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def tail(self):
        return tail(self.log.read_text(errors="replace"))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


if __name__ == "__main__":
    main()
