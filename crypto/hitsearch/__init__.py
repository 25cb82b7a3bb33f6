"""The hit-only search: an encrypted probe against a gallery in the clear, answered with hits and nothing else.

Source: specs/matching.md.
"""

from crypto.hitsearch.masks import MaskStream
from crypto.hitsearch.parameters import Plan, plan_for
from crypto.hitsearch.requester import Requester
from crypto.hitsearch.responder import PreparedQuery, Responder
from crypto.hitsearch.scoring import EncodedBlock

__all__ = ["EncodedBlock", "MaskStream", "Plan", "PreparedQuery", "Requester", "Responder", "plan_for"]
