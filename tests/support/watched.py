"""A responder that measures the noise of its ciphertexts, with the secret key that only a test has."""

from __future__ import annotations

from math import log2, prod

from crypto.hitsearch import Plan, Requester, Responder


class Watched(Responder):
    """Measures the noise of every intermediate ciphertext with the secret key that only a test has."""

    def __init__(self, plan: Plan, requester: Requester) -> None:
        self.measured: dict[str, float] = {}
        self._requester = requester
        self._guarding = False
        super().__init__(plan, requester.evaluation_keys(), use_kernel=False)  # so that all is SEAL's
        original = self._bgv.product

        def product(left: object, right: object, keys: object, *, drop: bool = True) -> object:
            result = original(left, right, keys, drop=drop)
            if drop and not self._guarding:
                self._note(f"product at {result.coeff_modulus_size()}", result)
            return result

        self._bgv.product = product  # type: ignore[method-assign]

    def _note(self, name: str, ciphertext: object) -> None:
        self.measured[name] = max(self.measured.get(name, 0.0), self.noise(ciphertext))

    def noise(self, ciphertext: object) -> float:
        level = ciphertext.coeff_modulus_size()  # type: ignore[attr-defined]
        budget = self._bgv.noise_budget(self._requester._secret, ciphertext)  # whole bits, rounded down
        return log2(prod(self.plan.data_primes[:level])) - 1 - (budget + 1)

    def _scores(self, prepared, block):  # type: ignore[no-untyped-def]
        self._note("scores", result := super()._scores(prepared, block))
        return result

    def _masked_product(self, powers, factors, stream, label):  # type: ignore[no-untyped-def]
        result = super()._masked_product(powers, factors, stream, label)
        self._note("before flooding", self._bgv.drop_to(result, self.plan.guard_level - 1))
        return result

    def _guard(self, probe, stream):  # type: ignore[no-untyped-def]
        self._guarding = True
        self._note("probe", probe)
        guards = super()._guard(probe, stream)
        self._note("validity: sum", guards.validity[0])
        self._note("canary", guards.canary)
        self._guarding = False
        return guards
