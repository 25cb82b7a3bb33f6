"""A key set made again from its secret, to hold against what somebody said it was.

Source: specs/matching.md, section 2.
"""

from __future__ import annotations

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.parameters import plan_for
from crypto.hitsearch.requester import Requester
from crypto.profiles import SearchProfile


def keys_hash(search: SearchProfile, secret: bytes) -> bytes:
    """The name of the evaluation keys that a secret makes; 32 bytes, after about a second.

    Raises:
        BadEncoding: The secret makes none.
        ImpossibleProfile: There is no such search.
    """
    keys = Requester.load(plan_for(search), secret).evaluation_keys()
    return hash_fields(Context.EVALUATION_KEYS, keys)


def plan_identifier(search: SearchProfile) -> bytes:
    """The identifier of the plan of a search; 32 bytes."""
    return plan_for(search).identifier
