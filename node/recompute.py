"""Compute a logged answer again from what both sides put into escrow, and name the step where it differs.

No node is needed here and none is trusted: the auditor opened the entries with a key of their own.

Source: specs/ledger.md, section "Recomputing an answer".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.engine_worker import Scheme
from node.recompute_model import Gallery, Inputs, Progress, Recomputed, Side, Step, Stop, Verdict
from node.recompute_steps import Steps

STEPS: Final = ("query", "seed", "gallery", "keys", "ciphertext", "answer", "result", "claims")
_NEEDED: Final = {
    "answer": ("query", "seed", "gallery", "keys", "ciphertext"),
    "result": ("answer", "keys"),
    "claims": ("seed",),
}


def recompute(
    inputs: Inputs,
    scheme: Scheme,
    progress: Progress = lambda *_: None,
    keep: Callable[[bytes], None] = lambda _: None,
) -> Recomputed:
    """Take every step that can be taken.

    Args:
        inputs: What there is.
        scheme: The real search; the plain twin in tests.
        progress: Called with a step, and how much of it is done, of how much.
        keep: Called with each block of the answer that was computed again, in order.
    """
    work = Steps(inputs, scheme, progress, keep)
    steps: dict[str, Step] = {}
    # Where the responder's half was done elsewhere, what is left of it is the hash of the answer.
    taken = [name for name in STEPS if inputs.answer is None or name not in ("seed", "gallery", "ciphertext")]
    for name in taken:
        needed = (one for one in _NEEDED.get(name, ()) if one in taken)
        unmet = [one for one in needed if steps[one].verdict is not Verdict.HOLDS]
        progress(name, 0, 0)
        if unmet:
            steps[name] = Step(name, Verdict.UNCHECKED, f"rests on: {', '.join(unmet)}")
            continue
        try:
            steps[name] = Step(name, Verdict.HOLDS, getattr(work, name)())
        except Stop as stop:
            steps[name] = Step(name, stop.verdict, str(stop), stop.blame)
    return Recomputed(inputs.exchange_id, tuple(steps.values()), work.done)


__all__ = ["Gallery", "Inputs", "Recomputed", "Side", "Step", "Verdict", "recompute"]
