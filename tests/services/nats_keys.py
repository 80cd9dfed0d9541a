"""Keys, JWTs and credentials files of NATS, as its tools nk and nsc make them."""

import base64
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
SEED = 18 << 3


def checksum(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


def text_of(data):
    return base64.b32encode(data + checksum(data)).decode().rstrip("=")


class Key:
    def __init__(self, kind):
        self.key = Ed25519PrivateKey.generate()
        prefix = KINDS[kind]
        raw = self.key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        public = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.seed = text_of(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + raw)
        self.public = text_of(bytes([prefix]) + public)


def part(value):
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def jwt(issuer, subject, name, kind, **fields):
    claims = {"jti": name, "iat": 1, "iss": issuer.public, "name": name, "sub": subject.public, "nats": {"type": kind, "version": 2, **fields}}
    text = ".".join(part(json.dumps(value).encode()) for value in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
    return f"{text}.{part(issuer.key.sign(text.encode()))}"


class Accounts:
    """An operator with one account, and as many users of it as are asked for; `settings` is for the server's configuration."""

    def __init__(self):
        self.operator, self.account = Key("operator"), Key("account")
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams", "consumer"), -1)
        account = jwt(self.operator, self.account, "shop", "account", limits={**limits, "wildcards": True})
        system = Key("account")
        without = {**limits, "mem_storage": 0, "disk_storage": 0, "wildcards": True}
        system_account = jwt(self.operator, system, "system", "account", limits=without)
        self.settings = (
            f"operator: {jwt(self.operator, self.operator, 'tests', 'operator')}\nsystem_account: {system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {self.account.public}: {account}, {system.public}: {system_account} }}\n"
        )

    def credentials(self, name):
        user = Key("user")
        token = jwt(self.account, user, name, "user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
        line = "-" * 5
        return (
            f"{line}BEGIN NATS USER JWT{line}\n{token}\n{line}-END NATS USER JWT{line}-\n\n"
            f"{line}BEGIN USER NKEY SEED{line}\n{user.seed}\n{line}-END USER NKEY SEED{line}-\n"
        )
