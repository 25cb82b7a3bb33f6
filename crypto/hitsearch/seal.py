"""The only door to SEAL: contexts, keys and ciphertexts that are built from words of ours.

SEAL's own files never come from outside. Objects enter SEAL as uncompressed containers that this module writes from
checked words, so that form, size, level, NTT flag and correction factor are ours; words leave SEAL through its own
save, read back here. An anonymous memory file stands in for the path that the binding asks for.

Source: specs/matching.md, section 6.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

import numpy as np
import tenseal.sealapi as sealapi
import zstandard
from numpy.typing import NDArray

from crypto.errors import BadCiphertext, BadKeys
from crypto.hitsearch.containers import (
    MemoryFile,
    body_of,
    ciphertext_body,
    container,
    correction_factor_of,
    plaintext_body,
    split_seeded,
    split_switch_keys,
    switch_keys_body,
    words_of_ciphertext,
)
from crypto.hitsearch.packing import Slots, Words
from crypto.hitsearch.parameters import Plan

BGV_SCHEME: Final = 3  # the binding's enumeration stops at CKKS; SEAL's own goes on

Ciphertext = Any  # the binding has no type information
Plaintext = Any


@cache
def keep_large_allocations() -> None:
    """Tell glibc to reuse large buffers instead of returning them: page faults cost a third of a block otherwise."""
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold, top_pad = -1, -3, -2
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)
        mallopt(top_pad, 1 << 26)


def _saved_body(thing: Any) -> bytes:
    """The uncompressed body of SEAL's own save of an object that we hold."""
    with MemoryFile() as file:
        thing.save(file.path)
        body, compressed = body_of(file.read())
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if compressed else body


class Bgv:
    """One BGV context with the plan's parameters, and the operations of the search on it.

    Args:
        plan: The parameters.
        prng_seed: 64 bytes that fix SEAL's random stream. Every call then draws the *same* stream, so such a context
            may make one object only, and only where determinism is wanted (a secret key from its seed, test vectors).
    """

    def __init__(self, plan: Plan, prng_seed: bytes | None = None) -> None:
        self.plan = plan
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE(BGV_SCHEME))
        parameters.set_poly_modulus_degree(plan.degree)
        primes = (*plan.data_primes, plan.special_prime)
        parameters.set_coeff_modulus([sealapi.Modulus(q) for q in primes])
        parameters.set_plain_modulus(plan.plain_modulus)
        if prng_seed is not None:
            words = list(struct.unpack("<8Q", prng_seed))
            parameters.set_random_generator(sealapi.Blake2xbPRNGFactory(words))
        level = sealapi.SEC_LEVEL_TYPE.TC128 if plan.secure else sealapi.SEC_LEVEL_TYPE.NONE
        self.context = sealapi.SEALContext(parameters, True, level)
        if not self.context.parameters_set():
            raise AssertionError(f"SEAL refuses the plan: {self.context.parameters_error_message()}")
        self.encoder = sealapi.BatchEncoder(self.context)
        self.evaluator = sealapi.Evaluator(self.context)
        self.key_level = self.context.key_parms_id()
        self.parms_ids = self._levels()

    def _levels(self) -> dict[int, Any]:
        """Number of data primes -> SEAL's identifier of that level."""
        ids: dict[int, Any] = {}
        key = self.context.first_parms_id()
        level = self.plan.levels
        filler = np.ones(2 * level * self.plan.degree, dtype=np.uint64)
        body = ciphertext_body(key, self.plan.degree, level, filler, None)
        walker = self._load(sealapi.Ciphertext(), body, AssertionError)
        while True:
            ids[level] = key
            if level == 1:
                return ids
            self.evaluator.mod_switch_to_next_inplace(walker)
            key = walker.parms_id()
            level -= 1

    # -- words in and out --

    def load_seeded(self, words: Words, seed: bytes, level: int) -> Ciphertext:
        """A ciphertext at a level, from the words of c0 (NTT form) and the seed that c1 expands from."""
        body = ciphertext_body(self.parms_ids[level], self.plan.degree, level, words, seed)
        return self._load(sealapi.Ciphertext(), body, BadCiphertext)

    def load_full(self, words: Words, level: int) -> Ciphertext:
        """A ciphertext at a level, from the words of c0 and c1 (NTT form)."""
        body = ciphertext_body(self.parms_ids[level], self.plan.degree, level, words, None)
        return self._load(sealapi.Ciphertext(), body, BadCiphertext)

    def load_public_key(self, words: Words, seed: bytes) -> Any:
        """The public key from the words of its first half and the seed of the second."""
        return self._load(sealapi.PublicKey(), self._key_body(words, seed), BadKeys)

    def load_relin_keys(self, digits: list[tuple[Words, bytes]]) -> Any:
        """The relinearisation key, one (words, seed) for each data prime."""
        keys = {0: [self._key_body(*digit) for digit in digits]}
        return self._load(sealapi.RelinKeys(), switch_keys_body(self.key_level, 1, keys), BadKeys)

    def load_galois_keys(self, by_step: dict[int, list[tuple[Words, bytes]]]) -> Any:
        """Rotation keys by step."""
        keys = {
            (self.rotation_element(step) - 1) // 2: [self._key_body(*digit) for digit in digits]
            for step, digits in by_step.items()
        }
        return self._load(
            sealapi.GaloisKeys(), switch_keys_body(self.key_level, self.plan.degree, keys), BadKeys
        )

    def _key_body(self, words: Words, seed: bytes) -> bytes:
        return ciphertext_body(self.key_level, self.plan.degree, self.plan.levels + 1, words, seed)

    def _load(self, target: Any, body: bytes, error: type[Exception]) -> Any:
        try:
            with MemoryFile(container(body)) as file:
                target.load(self.context, file.path)
        except (RuntimeError, ValueError) as problem:
            raise error("the words do not form a valid object of this plan") from problem
        return target

    def seeded_parts(self, serializable: Any, primes: int) -> tuple[Words, bytes]:
        """Words of c0 and the seed of c1, of a seeded ciphertext that SEAL has just made."""
        return split_seeded(_saved_body(serializable), primes * self.plan.degree)

    def switch_key_parts(self, serializable: Any) -> list[list[tuple[Words, bytes]]]:
        """The non-empty entries of freshly made relinearisation or rotation keys, in SEAL's order."""
        return split_switch_keys(_saved_body(serializable), (self.plan.levels + 1) * self.plan.degree)

    def words_of(self, ciphertext: Ciphertext, level: int) -> Words:
        """All words of a ciphertext of two polynomials: c0, then c1, prime by prime."""
        return words_of_ciphertext(_saved_body(ciphertext), 2 * level * self.plan.degree)

    def correction_factor(self, ciphertext: Ciphertext) -> int:
        """SEAL's BGV correction factor; the plan's primes keep it at 1."""
        return correction_factor_of(_saved_body(ciphertext))

    # -- plaintexts --

    def encode(self, values: Slots | NDArray[np.int8]) -> Plaintext:
        """One value per slot, modulo t."""
        plain = sealapi.Plaintext()
        self.encoder.encode(values.tolist(), plain)
        return plain

    def encode_ntt(self, values: Slots | NDArray[np.int8], level: int) -> Plaintext:
        """One value per slot, ready for products at a level."""
        return self.to_ntt(self.encode(values), level)

    def constant_ntt(self, value: int, level: int) -> Plaintext:
        """The same value in every slot, ready for products at a level."""
        return self.to_ntt(self.constant(value), level)

    def constant(self, value: int) -> Plaintext:
        """The same value in every slot, for sums."""
        return sealapi.Plaintext(f"{value % self.plan.plain_modulus:x}")

    def to_ntt(self, plain: Plaintext, level: int) -> Plaintext:
        """Transform a plaintext for products at a level."""
        result = sealapi.Plaintext()
        self.evaluator.transform_to_ntt(plain, self.parms_ids[level], result)
        return result

    def coefficients(self, values: Words) -> Plaintext:
        """A plaintext from its coefficients (not slots), each below t."""
        return self._load(sealapi.Plaintext(), plaintext_body(values), AssertionError)

    def decode(self, plain: Plaintext) -> Slots:
        """The value of every slot, in 0..t-1."""
        return np.array(self.encoder.decode_uint64(plain), dtype=np.int64)

    # -- ciphertexts: every operation returns a new one --

    def add(self, left: Ciphertext, right: Ciphertext) -> Ciphertext:
        """left + right."""
        result = sealapi.Ciphertext()
        self.evaluator.add(left, right, result)
        return result

    def add_into(self, total: Ciphertext, term: Ciphertext) -> Ciphertext:
        """Add a term into a sum that nobody else holds; returns the sum."""
        self.evaluator.add_inplace(total, term)
        return total

    def constant_pair(self, second: int, level: int) -> Ciphertext:
        """The public ciphertext ``(0, second)``; SEAL refuses operations whose result has no second half."""
        degree = self.plan.degree
        halves = [np.zeros(level * degree, dtype=np.uint64)]
        halves += [np.full(degree, second % q, dtype=np.uint64) for q in self.plan.data_primes[:level]]
        return self.load_full(np.concatenate(halves), level)

    def times_plain(self, left: Ciphertext, right: Plaintext) -> Ciphertext:
        """left times a plaintext in NTT form at the same level."""
        result = sealapi.Ciphertext()
        self.evaluator.multiply_plain(left, right, result)
        return result

    def plus_plain(self, left: Ciphertext, right: Plaintext) -> Ciphertext:
        """left plus a plaintext in coefficient form."""
        result = sealapi.Ciphertext()
        self.evaluator.add_plain(left, right, result)
        return result

    def product(self, left: Ciphertext, right: Ciphertext, relin_keys: Any) -> Ciphertext:
        """left * right, relinearised, one prime dropped."""
        result = sealapi.Ciphertext()
        if left is right:
            self.evaluator.square(left, result)
        else:
            self.evaluator.multiply(left, right, result)
        self.evaluator.relinearize_inplace(result, relin_keys)
        self.evaluator.mod_switch_to_next_inplace(result)
        return result

    def rotate(self, value: Ciphertext, steps: int, galois_keys: Any) -> Ciphertext:
        """Rotate both rows to the left."""
        result = sealapi.Ciphertext()
        self.evaluator.rotate_rows(value, steps, galois_keys, result)
        return result

    def drop_to(self, value: Ciphertext, level: int) -> Ciphertext:
        """Switch down to a level."""
        result = sealapi.Ciphertext()
        self.evaluator.mod_switch_to(value, self.parms_ids[level], result)
        return result

    def rotation_element(self, steps: int) -> int:
        """The Galois element of a row rotation to the left."""
        return pow(3, steps, 2 * self.plan.degree)

    def public_zero(self, encryptor: Any, level: int) -> Ciphertext:
        """A fresh encryption of zero under the requester's public key, with SEAL's own randomness."""
        result = sealapi.Ciphertext()
        encryptor.encrypt_zero(self.parms_ids[level], result)
        return result

    def public_encryptor(self, public_key: Any) -> Any:
        """Encrypts under a public key."""
        return sealapi.Encryptor(self.context, public_key)

    # -- secret side --

    def key_generator(self, secret_key: Any | None = None) -> Any:
        """SEAL's key generator, for a fresh or a given secret key."""
        if secret_key is None:
            return sealapi.KeyGenerator(self.context)
        return sealapi.KeyGenerator(self.context, secret_key)

    def secret_encryptor(self, secret_key: Any) -> Any:
        """Encrypts under the secret key."""
        return sealapi.Encryptor(self.context, secret_key)

    def decrypt(self, secret_key: Any, ciphertext: Ciphertext) -> Slots:
        """The value of every slot."""
        plain = sealapi.Plaintext()
        sealapi.Decryptor(self.context, secret_key).decrypt(ciphertext, plain)
        return self.decode(plain)

    def noise_budget(self, secret_key: Any, ciphertext: Ciphertext) -> int:
        """Bits that are left before decryption fails; needs the secret key."""
        return cast(int, sealapi.Decryptor(self.context, secret_key).invariant_noise_budget(ciphertext))


def ckks_matrix_seconds(probe: list[float], gallery: list[list[float]], clock: Callable[[], float]) -> float:
    """Seconds that TenSEAL's ``ckks_vector.mm`` takes for the same inner products, for benchmarks.

    The parameters are those of TenSEAL's own tutorials. It reveals every score to the requester, checks nothing,
    floods nothing, and stands here because it is what one would write today without this project.

    Args:
        probe: One vector of length n.
        gallery: n rows, one column per candidate, at most 4096 columns.
        clock: Processor time of this process, in seconds.
    """
    import tenseal

    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60], n_threads=1
    )
    context.global_scale = 2**40
    context.generate_galois_keys()
    encrypted = tenseal.ckks_vector(context, probe)
    start = clock()
    encrypted.mm(gallery)
    return clock() - start
