"""Write specs/vectors/matching.json: ``python tests/vectors/build_matching.py``.

Expected values come from whole numbers and hashlib, step by step as specs/matching.md says, not from the code under
test; the plan's identifier, primes and lengths are recorded from it, so that a change of parameters is noticed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: E402
from searching import at_score, random_templates  # noqa: E402

from crypto.hitsearch import Requester, plan_for  # noqa: E402
from crypto.profiles import SearchProfile  # noqa: E402

T = 65537
PROFILES = {
    "embedding-128": (128, 2, 127, 65),
    "embedding-256": (256, 3, 127, 65),
    "an even number of accepted scores": (64, 2, 60, 31),
    "one accepted score": (16, 3, 40, 40),
}


def frame(context: str, *fields: bytes) -> bytes:
    name = context.encode()
    return len(name).to_bytes(2, "big") + name + b"".join(len(f).to_bytes(8, "big") + f for f in fields)


def keystream(seed: bytes, exchange: bytes, attempt: int, block: int, label: bytes, length: int) -> bytes:
    numbers = attempt.to_bytes(8, "big"), block.to_bytes(8, "big")
    key = hashlib.sha256(frame("concordat/v1/mask-stream", seed, exchange, *numbers, label)).digest()
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def masked(score: int, norm: int, threshold: int, mask: int) -> int:
    width = norm - threshold
    scale, offset = (1, (norm + threshold) // 2) if width % 2 == 0 else (2, norm + threshold)
    roots = [x * x for x in range(0 if scale == 1 else 1, (width // 2 if scale == 1 else width) + 1, scale)]
    value = mask
    for root in roots:
        value = value * ((scale * score - offset) ** 2 - root) % T
    return value


def search_case(name: str, numbers: tuple[int, int, int, int]) -> dict[str, Any]:
    n, bound, norm, threshold = numbers
    profile = SearchProfile(*numbers)
    rng = np.random.default_rng(norm)
    probe = random_templates(rng, profile, 1)[0]
    others = [probe, -probe, *random_templates(rng, profile, 4)]
    others += [t for s in (threshold - 1, threshold) if (t := at_score(rng, probe, profile, s)) is not None]
    seed, exchange = hashlib.sha256(name.encode()).digest(), name.encode()[:16].ljust(16, b".")
    masks = keystream(seed, exchange, 1, 7, b"mask/hits", 2 * len(others))
    token_masks = keystream(seed, exchange, 1, 7, b"mask/tokens", 2 * len(others))
    tokens = keystream(seed, exchange, 1, 7, b"token", 2 * len(others))
    slots = []
    for slot, other in enumerate(others):
        score = sum(int(a) * int(b) for a, b in zip(probe, other, strict=True))
        mask = int.from_bytes(masks[2 * slot : 2 * slot + 2], "big") + 1
        value = masked(score, norm, threshold, mask)
        token = int.from_bytes(tokens[2 * slot : 2 * slot + 2], "big")
        factor = int.from_bytes(token_masks[2 * slot : 2 * slot + 2], "big") + 1
        slots.append(
            {
                "template": other.tolist(),
                "score": score,
                "hit": score >= threshold,
                "mask": mask,
                "value": value,
                "token": token,
                "token_value": (masked(score, norm, threshold, factor) + token) % T,
            }
        )
    plan = plan_for(profile)
    return {
        "comment": name,
        "profile": {"n": n, "bound": bound, "norm": norm, "threshold": threshold},
        "plan": {
            "identifier": plan.identifier.hex(),
            "data_primes": list(plan.data_primes),
            "special_prime": plan.special_prime,
            "baby_steps": plan.baby_steps,
            "query_bytes": plan.query_bytes,
            "keys_bytes": plan.keys_bytes,
            "answer_block_bytes": plan.answer_block_bytes,
        },
        "seed": seed.hex(),
        "exchange_id": exchange.hex(),
        "attempt": 1,
        "block": 7,
        "probe": probe.tolist(),
        "slots": slots,
    }


def probe_streams() -> dict[str, Any]:
    """The second and third probe of a query: another seed for all but the tokens."""
    seed, exchange = bytes(range(32)), b"f" * 16
    cases = []
    for probe in (1, 2):
        own = hashlib.sha256(
            frame("concordat/v1/mask-stream", seed, exchange, probe.to_bytes(8, "big"), b"probe")
        ).digest()
        masks = keystream(own, exchange, 0, 3, b"mask/hits", 16)
        tokens = keystream(seed, exchange, 0, 3, b"token", 16)
        cases.append(
            {
                "probe": probe,
                "seed_of_probe": own.hex(),
                "masks": [int.from_bytes(masks[i : i + 2], "big") + 1 for i in range(0, 16, 2)],
                "tokens": [int.from_bytes(tokens[i : i + 2], "big") for i in range(0, 16, 2)],
            }
        )
    where = {"seed": seed.hex(), "exchange_id": exchange.hex(), "attempt": 0, "block": 3}
    return {**where, "probes": cases}


def words_cases() -> list[dict[str, Any]]:
    prime = plan_for(SearchProfile(128, 2, 127, 65)).data_primes[0]
    words = [0, 1, prime - 1, 1 << 33, 12345678901, 7, 8, 9]
    bits = "".join(f"{w:034b}" for w in words)
    packed = int(bits, 2).to_bytes(34, "big").hex()
    too_large = int("".join(f"{w:034b}" for w in [prime, *words[1:]]), 2).to_bytes(34, "big").hex()
    base = {"bits": 34, "modulus": prime, "count": 8}
    return [
        base | {"comment": "eight words", "packed": packed, "words": words},
        base | {"comment": "a word equal to its prime", "packed": too_large, "error": "bad-encoding"},
        base | {"comment": "all bits set", "packed": "ff" * 34, "error": "bad-encoding"},
        base | {"comment": "a byte too short", "packed": packed[2:], "error": "bad-encoding"},
        base | {"comment": "a byte too long", "packed": packed + "00", "error": "bad-encoding"},
        base | {"comment": "empty", "packed": "", "error": "bad-encoding"},
    ]


def counter_stream(key: bytes, length: int) -> bytes:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def steady_key(secret: bytes) -> int:
    """Which of the keys of a secret is the first steady one."""
    degree = 16384
    for number in range(100):
        label = b"secret key/%d" % number if number else b"secret key"
        derived = hashlib.sha256(frame("concordat/v1/key-stream", secret, label)).digest()
        key = [byte % 3 - 1 for byte in counter_stream(derived, degree + 999) if byte < 255][:degree]
        walk, squares = -sum(key), 0
        for coefficient in key:
            walk += 2 * coefficient
            squares += walk * walk
        if 3 * squares <= 2 * degree * degree:
            return number
    raise AssertionError("no steady key")


def steady_at_once() -> bytes:
    return next(bytes([i]) * 32 for i in range(256) if steady_key(bytes([i]) * 32) == 0)


def expansions() -> dict[str, Any]:
    """Polynomials from seeds, by whole numbers."""
    plan = plan_for(SearchProfile(*PROFILES["embedding-128"]))
    seed = hashlib.sha256(b"expansions").digest()
    label = b"0/8"
    part = hashlib.sha256(frame("concordat/v1/uniform-half", seed, label)).digest()
    uniform = []
    for prime in (plan.data_primes[0], plan.special_prime):
        raw = hashlib.shake_128(frame("concordat/v1/uniform-half", part, prime.to_bytes(8, "big"))).digest(
            8 * 64
        )
        words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
        kept = [word % prime for word in words if word < (1 << 64) // prime * prime]
        uniform.append({"prime": prime, "words": kept[:16]})
    derived = hashlib.sha256(frame("concordat/v1/key-stream", seed, b"secret key")).digest()
    small = [byte % 3 - 1 for byte in counter_stream(derived, 128) if byte < 255][:64]
    error_key = hashlib.sha256(frame("concordat/v1/key-stream", seed, b"error/public")).digest()
    stream = counter_stream(error_key, 8 * 32)
    errors = []
    for i in range(32):
        word = int.from_bytes(stream[8 * i : 8 * i + 8], "big")
        errors.append((word & 0x1FFFFF).bit_count() - (word >> 21 & 0x1FFFFF).bit_count())
    secrets = [bytes(range(32)), steady_at_once()]
    return {
        "seed": seed.hex(),
        "label": label.decode(),
        "uniform": uniform,
        "ternary": {"key": derived.hex(), "coefficients": small},
        "errors": {"key": error_key.hex(), "coefficients": errors},
        "evaluation_keys": [
            {
                "comment": "recorded from the code: all the rest of section 2",
                "profile": "embedding-128",
                "secret": secret.hex(),
                "first_steady_key": steady_key(secret),
                "sha256": hashlib.sha256(Requester.load(plan, secret).evaluation_keys()).hexdigest(),
            }
            for secret in secrets
        ],
    }


def build() -> dict[str, Any]:
    digits = []
    raw = keystream(bytes(32), b"e" * 16, 2, 3, b"digits/flood/1/2", 4 * 64)
    for i in range(64):
        value = int.from_bytes(raw[4 * i : 4 * i + 4], "big")
        if value < (1 << 32) // T * T:
            digits.append(value % T)
    return {
        "about": "The hit-only search; specs/matching.md, sections 3 to 6.",
        "searches": [search_case(name, numbers) for name, numbers in PROFILES.items()],
        "impossible": [
            {"profile": [256, 2, 191, 60], "comment": "degree 66 of the threshold polynomial"},
            {"profile": [128, 2, 127, 63], "comment": "one root more than five levels carry"},
            {"profile": [4096, 2, 11384, 11000], "comment": "too many roots and too large a norm"},
        ],
        "digits": {
            "label": "flood/1/2",
            "seed": "00" * 32,
            "exchange_id": b"e".hex() * 16,
            "attempt": 2,
            "block": 3,
        }
        | {"values": digits[:48]},
        "probe_streams": probe_streams(),
        "expansions": expansions(),
        "words": words_cases(),
    }


def main() -> None:
    target = ROOT / "specs" / "vectors" / "matching.json"
    target.write_text(json.dumps(build(), indent=1) + "\n")


if __name__ == "__main__":
    main()
