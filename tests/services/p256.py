"""ECDSA on P-256, just enough to forge test tokens without a library. Slow, and its timing tells the key."""

import base64
import hashlib
import secrets

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(scalar, point):
    sum_ = None
    while scalar:
        if scalar & 1:
            sum_ = add(sum_, point)
        point, scalar = add(point, point), scalar >> 1
    return sum_


class Key:
    def __init__(self):
        self.d = secrets.randbelow(N - 1) + 1
        x, y = times(self.d, G)
        self.point = b"\x04" + x.to_bytes(32) + y.to_bytes(32)

    def sign(self, message):
        """The signature of a JWS with ES256: r and s, 32 bytes each."""
        digest = int.from_bytes(hashlib.sha256(message).digest())
        while True:
            k = secrets.randbelow(N - 1) + 1
            r = times(k, G)[0] % N
            s = pow(k, -1, N) * (digest + r * self.d) % N
            if r and s:
                return r.to_bytes(32) + s.to_bytes(32)

    def thumbprint(self):
        """RFC 7638: what Latchkey calls the key."""
        x, y = b64(self.point[1:33]), b64(self.point[33:])
        return b64(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())

    def private_pem(self):
        """PKCS#8."""
        head = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
        return pem("PRIVATE KEY", head + self.d.to_bytes(32) + bytes.fromhex("a144034200") + self.point)

    def public_pem(self):
        """SubjectPublicKeyInfo."""
        head = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
        return pem("PUBLIC KEY", head + self.point)


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def pem(label, der):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"
