"""The applications: how each is started and registered, and what it says when it refuses."""

import dataclasses
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SCOPE = "openid profile email"
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx160m", "-jar"]


@dataclasses.dataclass
class Words:
    """What is in its refusal of another nonce, and so on: so that it refuses for that, and not for something else."""

    nonce: str
    state: str
    signature: str
    audience: str
    issuer: str


@dataclasses.dataclass
class Party:
    name: str
    command: list
    method: str  # token_endpoint_auth_method
    words: Words
    mode: str = "query"  # response_mode
    scope: str = SCOPE
    login: str = "/login"
    callback: str = "/callback"
    port_is_registered: bool = True
    register: dict = dataclasses.field(default_factory=dict)  # more of its registration

    def redirect_uri(self, port):
        return f"http://127.0.0.1{f':{port}' if self.port_is_registered else ''}{self.callback}"

    @property
    def algorithm(self):
        return self.register.get("id_token_signed_response_alg", "RS256")


def every(tools):
    return [
        Party(
            "authlib",
            [tools / "authlib/venv/bin/python", HERE / "authlib/app.py"],
            "client_secret_post",
            # That azp is missing is what it says where aud is another.
            Words("'nonce'", "mismatching_state", "BadSignature", "'azp'", "'iss'"),
        ),
        Party(
            "openid-client",
            ["node", tools / "openid-client/app.mjs"],
            "private_key_jwt",
            Words('"nonce"', '"state"', "signature", '"aud"', "issuer"),
            mode="form_post",
        ),
        Party(
            "openidconnect",
            [tools / "rust/debug/relying-party"],
            "client_secret_basic",
            Words("nonce", "another state", "signature", "audience", "issuer"),
        ),
        Party(
            "go-oidc",
            [tools / "go-oidc/app"],
            "none",
            Words("another nonce", "another state", "signature", "audience", "issuer"),
            scope=f"{SCOPE} offline_access",
            port_is_registered=False,
            register={"id_token_signed_response_alg": "ES256"},
        ),
        Party(
            "spring",
            [*JAVA, tools / "spring/app.jar"],
            "client_secret_basic",
            Words(
                "invalid_nonce",
                "authorization_request_not_found",
                "signature",
                "aud",
                "did not match the requested issuer",
            ),
            login="/oauth2/authorization/latchkey",
            callback="/login/oauth2/code/latchkey",
            # It renews what expires within a minute: so it renews at every use.
            register={"lifetimes": {"access_ttl": "30s"}},
        ),
    ]


CARELESS = Party("careless", [sys.executable, HERE / "careless.py"], "none", Words("", "", "", "", ""))
