"""The only door to SEAL: contexts, keys and ciphertexts that are built from words of ours.

SEAL's own files never come from outside. Objects enter SEAL as uncompressed containers that this module writes from
checked words, so that form, size, level, NTT flag and correction factor are ours; words leave SEAL through its own
save, read back here. An anonymous memory file stands in for the path that the binding asks for.

Source: specs/matching.md, section 6.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
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
    switch_keys_body,
    words_of_ciphertext,
    words_of_plaintext,
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

    All randomness is the caller's: SEAL's own generators are never used.

    Args:
        plan: The parameters.
        levels: Data primes of this context; the plan's by default. A context of the last few serves what happens there.
    """

    def __init__(self, plan: Plan, levels: int | None = None) -> None:
        self.plan = plan
        self.levels = plan.levels if levels is None else levels
        self.primes = plan.data_primes[: self.levels]
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE(BGV_SCHEME))
        parameters.set_poly_modulus_degree(plan.degree)
        parameters.set_coeff_modulus([sealapi.Modulus(q) for q in (*self.primes, plan.special_prime)])
        parameters.set_plain_modulus(plan.plain_modulus)
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
        level = self.levels
        filler = np.ones(2 * level * self.plan.degree, dtype=np.uint64)
        body = ciphertext_body(key, self.plan.degree, level, filler)
        walker = self._load(sealapi.Ciphertext(), body, AssertionError)
        while True:
            ids[level] = key
            if level == 1:
                return ids
            self.evaluator.mod_switch_to_next_inplace(walker)
            key = walker.parms_id()
            level -= 1

    # -- words in and out --

    def load_full(self, words: Words, level: int) -> Ciphertext:
        """A ciphertext at a level, from the words of c0 and c1 (NTT form)."""
        body = ciphertext_body(self.parms_ids[level], self.plan.degree, level, words)
        return self._load(sealapi.Ciphertext(), body, BadCiphertext)

    def load_relin_keys(self, digits: list[Words]) -> Any:
        """The relinearisation key, one pair of polynomials for each data prime."""
        keys = {0: self._key_bodies(digits)}
        return self._load(sealapi.RelinKeys(), switch_keys_body(self.key_level, 1, keys), BadKeys)

    def load_galois_keys(self, by_element: dict[int, list[Words]]) -> Any:
        """Keys of automorphisms by Galois element: rotations of rows, and the exchange of the rows."""
        keys = {(element - 1) // 2: self._key_bodies(digits) for element, digits in by_element.items()}
        body = switch_keys_body(self.key_level, self.plan.degree, keys)
        return self._load(sealapi.GaloisKeys(), body, BadKeys)

    def _key_bodies(self, digits: list[Words]) -> list[bytes]:
        return [ciphertext_body(self.key_level, self.plan.degree, self.levels + 1, words) for words in digits]

    def load_secret_key(self, words: Words) -> Any:
        """The secret key from its words at all data primes and the special prime (NTT form)."""
        return self._load(sealapi.SecretKey(), plaintext_body(words, self.key_level), AssertionError)

    def _load(self, target: Any, body: bytes, error: type[Exception]) -> Any:
        try:
            with MemoryFile(container(body)) as file:
                target.load(self.context, file.path)
        except (RuntimeError, ValueError) as problem:
            raise error("the words do not form a valid object of this plan") from problem
        return target

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

    def uniform_ntt(self, values: Words, level: int) -> Plaintext:
        """A plaintext from its coefficients below t, ready for products; uniform coefficients are uniform slots."""
        return self.to_ntt(self.coefficients(values), level)

    def small_ntt(self, values: Slots, level: int) -> Plaintext:
        """A polynomial of small signed coefficients, ready for products at a level."""
        return self.uniform_ntt((values % self.plan.plain_modulus).astype(np.uint64), level)

    def number_ntt(self, number: int, level: int) -> Plaintext:
        """An integer of any size as a factor at a level: the same word at every place of a prime."""
        words = np.concatenate(
            [np.full(self.plan.degree, number % q, np.uint64) for q in self.primes[:level]]
        )
        return self._load(sealapi.Plaintext(), plaintext_body(words, self.parms_ids[level]), AssertionError)

    def ntt_words(self, values: Slots) -> Words:
        """NTT form, at all data primes and the special prime, of a polynomial of small signed coefficients."""
        plain = self.coefficients((values % self.plan.plain_modulus).astype(np.uint64))
        result = sealapi.Plaintext()
        self.evaluator.transform_to_ntt(plain, self.key_level, result)
        return words_of_plaintext(_saved_body(result), (self.levels + 1) * self.plan.degree)

    def slots_ntt_words(self, values: Slots) -> Words:
        """The same for a plaintext given by its slots."""
        result = sealapi.Plaintext()
        self.evaluator.transform_to_ntt(self.encode(values), self.key_level, result)
        return words_of_plaintext(_saved_body(result), (self.levels + 1) * self.plan.degree)

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

    def constant_pair(self, first: int, second: int, level: int) -> Ciphertext:
        """The public ciphertext ``(first, second)``; SEAL refuses operations whose result has no second half."""
        degree, primes = self.plan.degree, self.primes[:level]
        halves = [np.full(degree, number % q, dtype=np.uint64) for number in (first, second) for q in primes]
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

    def plus_polynomials(self, left: Ciphertext, polynomials: Sequence[Words]) -> Ciphertext:
        """left plus the sum of polynomials of coefficients below t, each centred."""
        for values in polynomials:
            left = self.plus_plain(left, self.coefficients(values))
        return left

    def product(
        self, left: Ciphertext, right: Ciphertext, relin_keys: Any, *, drop: bool = True
    ) -> Ciphertext:
        """left * right, relinearised, one prime dropped unless told otherwise."""
        result = sealapi.Ciphertext()
        if left is right:
            self.evaluator.square(left, result)
        else:
            self.evaluator.multiply(left, right, result)
        self.evaluator.relinearize_inplace(result, relin_keys)
        if drop:
            self.evaluator.mod_switch_to_next_inplace(result)
        return result

    def rotate(self, value: Ciphertext, steps: int, galois_keys: Any) -> Ciphertext:
        """Rotate both rows to the left."""
        result = sealapi.Ciphertext()
        self.evaluator.rotate_rows(value, steps, galois_keys, result)
        return result

    def exchange_rows(self, value: Ciphertext, galois_keys: Any) -> Ciphertext:
        """Exchange the two rows."""
        result = sealapi.Ciphertext()
        self.evaluator.rotate_columns(value, galois_keys, result)
        return result

    def drop_to(self, value: Ciphertext, level: int) -> Ciphertext:
        """Switch down to a level."""
        result = sealapi.Ciphertext()
        self.evaluator.mod_switch_to(value, self.parms_ids[level], result)
        return result

    # -- secret side --

    def decrypt(self, secret_key: Any, ciphertext: Ciphertext) -> Slots:
        """The value of every slot."""
        plain = sealapi.Plaintext()
        sealapi.Decryptor(self.context, secret_key).decrypt(ciphertext, plain)
        return self.decode(plain)

    def noise_budget(self, secret_key: Any, ciphertext: Ciphertext) -> int:
        """Bits that are left before decryption fails; needs the secret key."""
        return cast(int, sealapi.Decryptor(self.context, secret_key).invariant_noise_budget(ciphertext))


@lru_cache(maxsize=4)
def shared_context(plan: Plan) -> Bgv:
    """The context of a plan for whoever keeps nothing in it: making one takes as long as a fifth of a key set."""
    return Bgv(plan)


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
