"""Evaluation keys that are not what they claim, and responders that want to see which ones are in use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from forger import PLAN, PROFILE, Forger, hash_of
from nodes import World, ask, register, statements, until

from crypto.contexts import Context, hash_fields
from crypto.hitsearch.parameters import SEED_BYTES, plan_for
from crypto.hitsearch.plain import PlainRequester
from crypto.profiles import SearchProfile
from crypto.signing import SigningKey
from node.audit_files import DirectoryReader
from node.bodies import Kind
from node.daemon import Daemon
from node.errors import KeysNotRegistered
from node.operations import OPERATIONS
from protocol.accusations import read_accusation
from protocol.audit.keys import parse_private
from protocol.audit.verify import LedgerInput, verify_ledger
from protocol.key_evidence import BadKeyEvidence, KeyEvidence, verify_key_evidence
from protocol.limits import CLOCK_SKEW, DAY, MAX_KEY_OFFERS
from protocol.messages import message_hash, sign
from protocol.registration import (
    KeyChallenge,
    RegistrationStatus,
    epoch_at,
    read_challenge,
    read_offer,
    read_opening,
)
from protocol.statements_keys import KeysAccepted


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.copied(tmp_path, registered=False)


@pytest.fixture
async def us(world: World) -> AsyncIterator[Daemon]:
    async with world.daemon("US") as daemon:
        daemon.registrar.taken.draw = lambda sets: 0  # type: ignore[method-assign]
        yield daemon


@pytest.fixture
async def forger(world: World, us: Daemon) -> AsyncIterator[Forger]:
    forger = Forger(world.directories["CL"])
    yield forger
    await forger.close()


def twin_hash(search: SearchProfile, secret: bytes) -> bytes:
    """Stands in for the real scheme, as everywhere in these tests."""
    keys = PlainRequester.load(plan_for(search), secret).evaluation_keys()
    return hash_fields(Context.EVALUATION_KEYS, keys)


def convicts(evidence: KeyEvidence) -> str:
    return verify_key_evidence(evidence, twin_hash, lambda search: plan_for(search).identifier)


def the_file(world: World, holder: str) -> tuple[Path, KeyEvidence]:
    (path,) = (world.directories[holder] / "ledger" / "conflicts").iterdir()
    evidence = read_accusation(path.read_bytes())
    assert isinstance(evidence, KeyEvidence)
    return path, evidence


def keys(daemon: Daemon) -> list[str]:
    kinds = [kind for kind in statements(daemon.core, keys=True) if kind.startswith("keys.")]
    return [kind.partition(".")[2] for kind in kinds]


class TestDishonestRequester:
    async def test_one_forged_set_is_found_unless_it_is_kept(
        self, world: World, us: Daemon, forger: Forger
    ) -> None:
        """The forged set is at 1; the responder keeps 0, so it is opened."""
        message = forger.offer_message(sets=[hash_of(forger.sets[0]), bytes(32)])
        await forger.offer(message)
        await forger.open()
        assert await forger.upload() == 201
        decision = await forger.decided()
        assert (decision.outcome, decision.reason) == ("refused", "set-differs")
        assert keys(us) == ["challenged", "refused"]
        assert us.core.suspension("CL") == "set-differs"
        await until(lambda: "peer.suspended" in statements(us.core))
        assert not us.core.bodies.path(Kind.KEYS, forger.keys_hash).exists()
        _, evidence = the_file(world, "US")
        assert (evidence.accused, evidence.index) == ("CL", 1)
        assert "set 1" in convicts(evidence)

    async def test_a_forged_set_that_is_kept_passes(self, us: Daemon, forger: Forger) -> None:
        """What remains: one chance in the number of sets."""
        forged = bytes(PLAN.keys_bytes)
        name = hash_fields(Context.EVALUATION_KEYS, forged)
        await forger.offer(forger.offer_message(sets=[name, hash_of(forger.sets[1])]))
        await forger.open()
        forger.keys = forged
        assert await forger.upload() == 201
        assert (await forger.decided()).outcome == "registered"

    async def test_a_secret_that_makes_another_set(self, world: World, us: Daemon, forger: Forger) -> None:
        await forger.offer()
        await forger.open(forger.opening_message(secrets=[os.urandom(SEED_BYTES)]))
        await forger.upload()
        assert (await forger.decided()).reason == "set-differs"
        assert "set 1" in convicts(the_file(world, "US")[1])

    @pytest.mark.parametrize("count", [2, 5])
    async def test_another_number_of_secrets(
        self, world: World, us: Daemon, forger: Forger, count: int
    ) -> None:
        await forger.offer()
        await forger.open(forger.opening_message(secrets=[forger.sets[1].secret()] * count))
        assert (await forger.decided()).reason == "opening-incomplete"
        assert us.core.suspension("CL") == "opening-incomplete"
        assert f"{count} secrets" in convicts(the_file(world, "US")[1])

    async def test_an_opening_of_another_set_than_the_challenge_says(
        self, us: Daemon, forger: Forger
    ) -> None:
        await forger.offer()
        opening = forger.opening_message(kept=1, secrets=[forger.sets[0].secret()])
        assert (await forger.open(opening)).said == "wrong-message"
        assert keys(us) == ["challenged"]

    async def test_two_openings(self, us: Daemon, forger: Forger) -> None:
        await forger.offer()
        opening = forger.opening_message()
        assert (await forger.open(opening)).status == 200
        other = opening.model_copy(update={"opened_ms": opening.opened_ms + 1})
        envelope = sign(other, forger.core.keys.identity)
        assert (await forger._post(f"/v1/registrations/{forger.name}/opening", 0, envelope)).said in (
            "out-of-order",
            "bad-evidence",
        )

    async def test_offers_until_the_forged_set_is_kept(self, us: Daemon, forger: Forger) -> None:
        """Each offer has its chance; they are few, and each stays on both ledgers."""
        for _ in range(MAX_KEY_OFFERS):
            assert (await forger.offer()).status == 200
        assert (await forger.offer()).said == "too-many-offers"
        assert keys(us) == ["challenged"] * MAX_KEY_OFFERS

    async def test_the_same_offer_gets_the_same_challenge(self, us: Daemon, forger: Forger) -> None:
        message = forger.offer_message()
        first = await forger.offer(message)
        us.registrar.taken.draw = lambda sets: 1  # type: ignore[method-assign]
        body_index = forger.core.journal.ledger.size - 1
        again = await forger._post("/v1/registrations", body_index, forger.offered)
        assert again.envelope == first.envelope
        assert keys(us) == ["challenged"]

    async def test_another_offer_under_a_used_id(self, us: Daemon, forger: Forger) -> None:
        message = forger.offer_message()
        await forger.offer(message)
        other = sign(message.model_copy(update={"created_ms": 1}), forger.core.keys.identity)
        index = forger.core.journal.ledger.size - 1
        assert (await forger._post("/v1/registrations", index, other)).said == "replayed"

    async def test_a_second_set_for_the_epoch(self, us: Daemon, forger: Forger) -> None:
        assert await forger.register() == 201
        forger.sets = [PlainRequester.generate(PLAN) for _ in forger.sets]
        assert (await forger.offer()).said == "keys-registered"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"epoch": -1}, "offer-refused"),
            ({"epoch": 2}, "offer-refused"),
            ({"epoch_days": 1}, "offer-refused"),
            ({"agreement": bytes(32)}, "offer-refused"),
            ({"profile": bytes(32)}, "offer-refused"),
            ({"plan": bytes(32)}, "offer-refused"),
            ({"sets": [bytes([n]) * 32 for n in range(3)]}, "offer-refused"),
            ({"created_ms": 2 * CLOCK_SKEW}, "offer-refused"),
            ({"requester": "CO"}, "wrong-message"),
            ({"responder": "CO"}, "wrong-message"),
        ],
    )
    async def test_an_offer_that_no_agreement_covers(
        self, us: Daemon, forger: Forger, changes: dict[str, Any], said: str
    ) -> None:
        good = forger.offer_message()
        for name in ("epoch", "created_ms"):
            if name in changes:
                changes = {name: getattr(good, name) + changes[name]}
        assert (await forger.offer(good.model_copy(update=changes))).said == said
        assert keys(us) == []

    async def test_an_offer_that_another_peer_signed(self, us: Daemon, forger: Forger) -> None:
        key = SigningKey.from_seed(bytes(32))
        assert (await forger.offer(key=key)).said == "bad-signature"
        assert keys(us) == []

    async def test_an_offer_that_is_not_on_the_ledger(self, us: Daemon, forger: Forger) -> None:
        offer = sign(forger.offer_message(), forger.core.keys.identity)
        assert (await forger._post("/v1/registrations", 0, offer)).said == "bad-evidence"

    async def test_queries_under_keys_of_an_epoch_that_is_over(
        self, world: World, us: Daemon, forger: Forger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert await forger.register() == 201
        held = us.core.bodies.path(Kind.KEYS, forger.keys_hash)
        assert (await forger.post(forger.body(forger.query()))).said == "accepted"
        later = us.core.clock() + 31 * DAY
        row = us.registrar.records.keys.all_keys("r")[0]
        assert row.target.epoch == epoch_at(us.core.clock(), 30)
        monkeypatch.setattr(us.core, "_clock", lambda: row.target.end_ms + CLOCK_SKEW + 1)
        query = forger.query(created_ms=us.core.clock(), expires_ms=us.core.clock() + 60_000)
        agreement = us.core.agreements.current("CL")
        ended = agreement.fields.model_copy(update={"not_after_ms": later + 30 * DAY})
        monkeypatch.setattr(type(agreement), "fields", property(lambda self: ended), raising=False)
        assert (await forger.post(forger.body(query))).said == "refused: keys-expired"
        assert held.exists()
        monkeypatch.setattr(us.core, "_clock", lambda: later + 31 * DAY)
        await us.thread(us.registrar.decisions.sweep)
        assert not held.exists()

    async def test_what_is_never_opened_is_refused_in_time(
        self, us: Daemon, forger: Forger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await forger.offer()
        late = us.core.clock() + DAY + 1000
        monkeypatch.setattr(us.core, "_clock", lambda: late)
        await us.thread(us.registrar.decisions.sweep)
        assert keys(us) == ["challenged", "refused"]
        assert us.core.suspension("CL") == ""


class TestDishonestResponder:
    async def test_a_second_challenge_is_not_answered_and_convicts(self, world: World) -> None:
        """Two openings with different sets kept would open every set, the one in use too."""
        async with world.daemon("US") as us, world.daemon("CL") as cl:
            taken = us.registrar.taken
            honest = taken.status

            def lying(peer: str, name: bytes, seen: int, progress: Any) -> bytes:
                body = honest(peer, name, seen, progress)
                status = RegistrationStatus.from_bytes(body)
                _, record = us.registrar.records.of(peer, name)
                if record.opening is None:
                    return body
                first = read_challenge(record.challenge)
                other = first.model_copy(update={"kept": 1 - first.kept})
                envelope = sign(other, us.core.keys.identity)
                return status.model_copy(update={"challenge": envelope}).to_bytes()

            taken.status = lying  # type: ignore[method-assign]
            with pytest.raises(KeysNotRegistered, match="second-challenge"):
                await register(cl, "US")
            assert keys(cl) == ["offered", "opened", "failed"]
            assert cl.core.suspension("US") == "second-challenge"
            path, evidence = the_file(world, "CL")
            assert "two challenges" in verify_key_evidence(evidence, None)
            await until(lambda: "peer.suspended" in statements(cl.core))
            assert len(cl.registering.offers.keys.registrations("q")) == 1, (
                "what was offered is not offered again"
            )
        ledger = path.parents[1]
        key = parse_private((world.root / "auditor").read_text())
        report = verify_ledger(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)
        assert [(one.rule.value, one.blame) for one in report.findings] == [("peer-keys", "US")]

    async def test_a_challenge_after_the_keys_are_in_use_reveals_nothing(self, world: World) -> None:
        """No request of the peer makes a node open anything: it answers the first reply to its own offer."""
        async with world.daemon("US"), world.daemon("CL") as cl:
            await register(cl, "US")
            (row,) = cl.registering.offers.keys.registrations("q")
            record = cl.registering.offers._record(row)
            assert record.secrets == [], "secrets of an ended registration are gone"
            assert record.challenge is not None
            assert record.opening is not None
            kept = read_challenge(record.challenge).kept
            assert read_opening(record.opening).kept == kept
            used = read_offer(record.offer).sets[kept]
            secret = cl.registering.own_keys.secret_of(used, "US")
            assert secret not in read_opening(record.opening).secrets

    async def test_the_secret_in_use_is_in_escrow_and_shown_to_nobody(self, world: World) -> None:
        from protocol.audit.search import Criteria, search
        from protocol.audit.verify import audit_ledger

        async with world.daemon("US"), world.daemon("CL") as cl:
            row = await register(cl, "US")
            secret = cl.registering.own_keys.secret_of(row.hash, "US")
        ledger = world.directories["CL"] / "ledger"
        key = parse_private((world.root / "auditor").read_text())
        given = LedgerInput(DirectoryReader(ledger), (ledger / "policy").read_bytes(), key)
        audited = audit_ledger(given)
        (entry,) = [one for one in audited.entries if isinstance(one.shared, KeysAccepted)]
        assert getattr(entry.private, "secret") == secret  # noqa: B009
        found = search(audited, Criteria(kind="keys.accepted"))
        assert secret is not None
        assert secret.hex() not in repr(found)
        assert found["matches"][0]["private"] == {"secret": f"{SEED_BYTES} bytes, not shown"}

    async def test_a_challenge_that_keeps_a_set_which_was_not_offered(self, world: World) -> None:
        async with world.daemon("US") as us, world.daemon("CL") as cl:
            us.registrar.taken.draw = lambda sets: sets  # type: ignore[method-assign]
            with pytest.raises(KeysNotRegistered, match="bad-reply"):
                await register(cl, "US")
            assert keys(cl) == ["offered", "failed"]


async def test_the_operator_goes_on_after_a_mistake(world: World, us: Daemon, forger: Forger) -> None:
    await forger.offer()
    await forger.open(forger.opening_message(secrets=[os.urandom(SEED_BYTES)]))
    await forger.upload()
    await forger.decided()
    arguments = {"country": "CL", "reason": "they talked"}
    await us.thread(OPERATIONS["peer.resume"], us.core, arguments, lambda _: None)
    assert us.core.suspension("CL") == ""
    assert await forger.register() == 201


async def test_a_peer_that_lost_the_bytes_gets_them_again(world: World) -> None:
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        row = await register(cl, "US")
        us.core.bodies.remove(Kind.KEYS, row.hash)
        assert (await ask(cl, world.arguments("known.npz:3")))["outcome"] == "hit"
        assert us.core.bodies.path(Kind.KEYS, row.hash).exists()


async def test_a_node_registers_ahead_of_its_officers(world: World) -> None:
    for directory in world.directories.values():
        config = directory / "node.toml"
        config.write_text(config.read_text().replace("register_ahead = false", "register_ahead = true"))
    async with world.daemon("US") as us, world.daemon("CL") as cl:
        await until(lambda: keys(cl).count("accepted") == keys(us).count("accepted") == 1)
        shown = (await cl._status({}, lambda _: None))["keys"]
        assert [(one["whose"], one["state"]) for one in shown] == [
            ("ours", "registered"),
            ("theirs", "registered"),
        ]


def test_evidence_that_does_not_convict(world: World) -> None:
    """Nobody is accused by his own honest messages."""
    forger = Forger(world.directories["CL"])
    try:
        offer = sign(forger.offer_message(), forger.core.keys.identity)
        forger.offered = offer
        us = SigningKey.from_seed(bytes([1]) * 32)
        challenge = KeyChallenge(
            exchange_id=read_offer(offer).exchange_id,
            requester="CL",
            responder="US",
            offer_hash=message_hash(offer),
            kept=0,
            challenged_ms=1,
        )
        forger.challenge = sign(challenge, us)
        opening = sign(forger.opening_message(), forger.core.keys.identity)
        identity = forger.core.keys.identity.verify_key
        search = PROFILE.search
        honest = KeyEvidence.of("set-differs", "CL", identity, offer, opening, 1, search)
        laxer = SearchProfile(search.n, search.bound, search.norm, search.threshold - 2)
        other = KeyEvidence.of("set-differs", "CL", identity, offer, opening, 1, laxer)
        again = KeyEvidence.of("second-challenge", "US", us.verify_key, forger.challenge, forger.challenge)
        for evidence in (
            honest,
            honest.model_copy(update={"index": 0}),
            honest.model_copy(update={"accused": "CO"}),
            honest.model_copy(update={"identity": us.verify_key.public}),
            honest.model_copy(update={"search": None}),
            other,
            honest.model_copy(update={"rule": "opening-incomplete"}),
            honest.model_copy(update={"first": opening}),
            again,
            again.model_copy(update={"accused": "CL"}),
        ):
            with pytest.raises(BadKeyEvidence):
                convicts(evidence)
    finally:
        asyncio.run(forger.close())
