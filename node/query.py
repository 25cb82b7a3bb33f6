"""The officer's question: from arguments to one exchange per country, and what came of each."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from pydantic import ValidationError

from crypto.errors import ConcordatError
from crypto.hitsearch.passes import probes_of
from crypto.profiles import Profile
from crypto.templates import Template
from node.admin import Report, describe
from node.asking import Asking, Probe
from node.core import NodeCore
from node.driver import CoreThread
from node.errors import BadConfig
from node.known_profiles import plan_sizes
from node.operations import text
from node.samples import probe_templates
from protocol.agreement import Agreement, Grant
from protocol.exchange.request import QueryRequest
from protocol.exchange.requester import RequesterSession
from protocol.messages import AnswerHeader, Signed
from protocol.model import describe as describe_field

HALT_LOOK_S: Final = 2.0
REPORT_WAIT_S: Final = 30.0
"""How long the officer's call waits for the receipt once the outcome stands; it goes on without."""
NO_KEYS: Final = bytes(32)
"""Stands for the evaluation keys in a question that our own policy has not allowed yet."""


async def run_query(
    core: NodeCore, thread: CoreThread, asking: Asking, arguments: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Ask all countries of ``to`` at the same time.

    Returns:
        ``ok`` (every country answered) and ``results``, one for each country: ``to, outcome, hits, reason,
        exchange, entries`` (our ledger), ``blocks, query_bytes, answer_bytes, seconds, reported``.

    Raises:
        InputError: A bad argument, probe, country or missing agreement; then nobody was asked.
    """
    countries = arguments.get("to")
    if not isinstance(countries, list) or not countries or len(set(map(str, countries))) != len(countries):
        raise BadConfig("to: different countries are expected")
    questions = [await thread(_question, core, str(country), arguments) for country in countries]
    results = await asyncio.gather(*(_ask(core, thread, asking, *one, report) for one in questions))
    ok = all(result["outcome"] in ("hit", "no-hit") for result in results)
    return {"ok": ok, "results": results}


def _question(
    core: NodeCore, country: str, arguments: dict[str, Any]
) -> tuple[QueryRequest, Agreement, Probe]:
    core.roster.peer(country)
    modality, purpose = text(arguments, "modality"), text(arguments, "purpose")
    asked = (
        modality,
        purpose,
        *(text(arguments, name) for name in ("offence", "person_category", "legal_basis")),
    )
    agreement, grant = _best_grant(core.agreements.usable(country), core.country, asked)
    profile = core.profiles.named(grant.profile_digest)
    sizes = plan_sizes(profile)
    probe = Probe(profile, _templates(text(arguments, "probe"), profile))
    try:
        request = QueryRequest(
            exchange_id=os.urandom(16),
            requester=core.country,
            responder=country,
            agreement=agreement.digest,
            profile=profile.digest,
            plan=sizes.identifier,
            query_bytes=sizes.query_bytes,
            answer_block_bytes=sizes.answer_block_bytes,
            evaluation_keys=NO_KEYS,
            modality=modality,  # type: ignore[arg-type]
            gallery=grant.gallery,
            purpose=purpose,
            offence=text(arguments, "offence"),
            person_category=text(arguments, "person_category"),
            legal_basis=text(arguments, "legal_basis"),
            authority=core.config.authority,
            officer=text(arguments, "officer"),
            approver=text(arguments, "approver"),
            case_reference=text(arguments, "case_reference"),
        )
    except ValidationError as error:
        raise BadConfig(describe_field(error)) from None
    return request, agreement, probe


def _templates(named: str, profile: Profile) -> Template:
    templates = probe_templates(named, profile)
    if len(templates) != probes_of(profile):
        raise BadConfig(f"a query under {profile.name} has {probes_of(profile)} probes, not {len(templates)}")
    return templates


def _best_grant(agreements: list[Agreement], own: str, asked: tuple[str, ...]) -> tuple[Agreement, Grant]:
    """The agreement and the grant that cover the question best; of equal ones the first.

    One that does not cover it gives the profile under which the refusal is logged.
    """
    modality, purpose, offence, person_category, legal_basis = asked

    def fit(pair: tuple[Agreement, Grant]) -> tuple[bool, ...]:
        grant = pair[1]
        return (
            grant.requester == own,
            grant.modality == modality,
            purpose in grant.purposes,
            offence in grant.offences,
            person_category in grant.person_categories,
            legal_basis in grant.legal_bases,
        )

    return max(((one, grant) for one in agreements for grant in one.fields.grants), key=fit)


async def _ask(
    core: NodeCore,
    thread: CoreThread,
    asking: Asking,
    request: QueryRequest,
    agreement: Agreement,
    probe: Probe,
    report: Report,
) -> dict[str, Any]:
    country, started = request.responder, time.monotonic()
    # Told before keys are registered, which takes a while: from now on the question can be called off.
    report({"step": f"{country}: begun", "exchange": request.exchange_id.hex()})
    try:
        key = await asking.ask(request, agreement, probe, report)
    except ConcordatError as error:
        shown = describe(error)
        return {"to": country, "outcome": "failed", "hits": 0, "reason": shown["code"], "exchange": None}

    def settled(session: RequesterSession) -> bool:
        record = session.record
        shown = {
            "step": f"{country}: {record.state.value}",
            "done": record.done,
            "total": record.total,
            "exchange": key.hex(),
        }
        report(shown)
        return session.outcome is not None

    while not await asking.wait_for(key, settled, HALT_LOOK_S):
        if core.witnessing.halted is not None:
            # Nothing is added to this ledger any more, so the query never ends here; the officer has to know.
            reason, exchange = core.witnessing.halted.code, key.hex()
            return {"to": country, "outcome": "failed", "hits": 0, "reason": reason, "exchange": exchange}
    seconds = time.monotonic() - started
    session = await thread(asking.store.get, key)
    # After a failure the peer may well be gone; the report goes on without the officer.
    patience = REPORT_WAIT_S if session.outcome in ("hit", "no-hit") else 1.0
    reported = await asking.wait_for(key, lambda session: session.finished, patience)
    session = await thread(asking.store.get, key)
    return {**_shown(session), "seconds": round(seconds, 3), "reported": reported}


async def cancel_query(asking: Asking, arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Call off an exchange: what was sent is reported as cancelled, and the peer stops working on it.

    An outcome that stands already stays. Raises ``UnknownExchange`` where there is none of ours.
    """
    try:
        key = bytes.fromhex(text(arguments, "exchange"))
    except ValueError:
        raise BadConfig("exchange: hexadecimal digits are expected") from None
    await asking.call_off(key)
    return {"ok": True, "exchange": key.hex()}


def _shown(session: RequesterSession) -> dict[str, Any]:
    record = session.record
    header = None
    if record.answer is not None:
        header = AnswerHeader.from_bytes(Signed.from_bytes(record.answer).message)
    entries = (record.intent_index, record.result_index)
    return {
        "to": record.request.responder,
        "outcome": session.outcome,
        "hits": record.hits,
        "reason": record.reason,
        **({"retry_after_s": record.retry_after_s} if record.retry_after_s is not None else {}),
        "exchange": record.exchange_id.hex(),
        "entries": [entry for entry in entries if entry is not None],
        "blocks": header.blocks if header is not None else 0,
        "query_bytes": record.request.query_bytes if record.query is not None else 0,
        "answer_bytes": header.answer_bytes if header is not None else 0,
    }
