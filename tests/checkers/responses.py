"""Section 7 of docs/PROTOCOL.md, for one response: six steps, of which the first failure is the verdict."""

from dataclasses import dataclass, field
from typing import Callable

import chain_proofs
import hashes
import shapes
from endpoint import Endpoint
from hashes import unhex
from strict_json import Refused

STEPS = {1: "request and times", 2: "hashes", 3: "votes", 4: "proofs", 5: "evidence and bridge", 6: "chain"}
# What a response without a transaction says of one.
ZERO_FIELDS = {
    "blockchain_tx_hash": shapes.ZERO_BYTES32,
    "block_number": 0,
    "block_hash": shapes.ZERO_BYTES32,
}
# So many expiries are tried at most, where a response leaves open which one its id commits to.
EXPIRIES_MAX = 100_000


@dataclass
class Step:
    number: int
    verdict: str  # passed, failed, not reached, not checked
    reason: str = ""


@dataclass
class Report:
    what: str
    steps: list[Step] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(step.verdict == "failed" for step in self.steps)


def sort_of(response: dict) -> str:
    """The line of section 6's second table that a response falls under. A vote in it makes it a denial."""
    if response["decision"] != "denied":
        return response["decision"]
    evidence, reason = response["evidence"], response["denial_reason"] or ""
    if evidence is None:
        open_sorts = ("expired", "refused")
    else:
        open_sorts = () if evidence["votes"] else ("cancelled",)
    for sort in open_sorts:
        if reason.startswith(f"{sort}: "):
            return sort
    return "denied"


EVENT_OF = {
    "approved": "AuthorizationApproved",
    "denied": "AuthorizationDenied",
    "cancelled": "AuthorizationCancelled",
    "consumed": "AuthorizationConsumed",
    "recorded": "ExecutionRecorded",
}
# What the contract may say of the id at the response's block: later steps may be in the same one.
STATUS_OF = {
    "approved": (2, 3, 4, 5, 6),
    "denied": (3,),
    "cancelled": (6,),
    "consumed": (4, 5),
    "recorded": (5,),
    "expired": (7,),
}


@dataclass
class Check:
    """One response, the request it answers, and what the verifier pins."""

    request: dict
    response: dict
    anchors: dict
    # Every epoch that the verifier pins; the anchors of a bundle hold one.
    epochs: list
    identifier: str
    claim: str | None = None
    outcome: str | None = None
    result: object = None
    endpoint: Endpoint | None = None

    def __post_init__(self):
        self.sort = sort_of(self.response)
        self.evidence = self.response["evidence"]
        self.domain = hashes.domain(self.anchors["chain_id"], self.anchors["contract"])
        self.fields: tuple = ()

    def report(self, what: str) -> Report:
        report = Report(what)
        for number, step in self._steps().items():
            if report.failed:
                report.steps.append(Step(number, "not reached"))
            elif step is None:
                report.steps.append(Step(number, "not checked", "no endpoint" if number == 6 else self.sort))
            else:
                try:
                    step()
                    report.steps.append(Step(number, "passed"))
                except Refused as refused:
                    report.steps.append(Step(number, "failed", str(refused)))
        return report

    def _steps(self) -> dict[int, Callable[[], None] | None]:
        proven = self.evidence is not None
        return {
            1: self._request_and_times,
            2: self._hashes,
            3: self._votes if proven else self._nobody,
            4: self._proofs if proven else None,
            5: self._bridge,
            6: self._chain if self.endpoint and self.sort != "refused" else None,
        }

    # Step 1

    def _request_and_times(self):
        request, response = self.request, self.response
        if response["request_id"] != request["request_id"]:
            raise Refused("it names another request")
        if (self.sort in EVENT_OF) != (self.evidence is not None):
            raise Refused(f"{'no' if self.evidence is None else 'there is'} evidence in a response that is {self.sort}")
        if self.evidence is None:
            for name, value in ZERO_FIELDS.items():
                if response[name] != value:
                    raise Refused(f"{name} is zero where there is no transaction")
            return
        self._epoch()
        self._lifetime(self.evidence["expires_at"])
        # A header that is not the block's own says nothing of its time; step 4 refuses it.
        header = self._header()
        if self.sort in ("approved", "consumed") and header and header.timestamp >= self.evidence["expires_at"]:
            raise Refused("the block is not earlier than expires_at")

    def _lifetime(self, expires_at: int):
        start = shapes.milliseconds(self.request["timestamp"])
        if not start < expires_at * 1000 <= start + self.anchors["max_lifetime"] * 1000:
            raise Refused("expires_at is not within the pinned lifetime")

    def _header(self) -> chain_proofs.Header | None:
        raw = unhex(self.evidence["block_header"])
        if chain_proofs.keccak(raw) != unhex(self.response["block_hash"]):
            return None
        try:
            return chain_proofs.read_header(raw)
        except Refused:
            return None

    # Step 2

    def _hashes(self):
        request, response = self.request, self.response
        action, whole = hashes.action_hash(request), hashes.sha256_jcs(request)
        if not action == request["action_hash"] == response["action_hash"]:
            raise Refused("action_hash is not the request's")
        if whole != response["request_hash"]:
            raise Refused("request_hash is not the request's")
        if self.sort == "refused":
            return
        if response["authorization_id"] != self.identifier:
            raise Refused("it is of another authorization")
        if self.sort == "expired":
            self._some_expiry()
            return
        evidence = self.evidence
        if evidence["chain_id"] != self.anchors["chain_id"] or evidence["contract"] != self.anchors["contract"]:
            raise Refused("the evidence is of another chain or contract")
        if evidence["risk_bps"] != hashes.risk_bps(request):
            raise Refused("risk_bps is not the request's")
        self.fields = hashes.chain_request(request, evidence["requester"], evidence["expires_at"], evidence["epoch"])
        if hashes.authorization_id(self.fields) != response["authorization_id"]:
            raise Refused("authorization_id does not follow from the request and the evidence")

    def _some_expiry(self):
        """Without evidence the page leaves open which epoch and expiry an id commits to: pinned ones have to fit."""
        start = shapes.milliseconds(self.request["timestamp"]) // 1000
        if self.anchors["max_lifetime"] > EXPIRIES_MAX:
            raise Refused(f"a lifetime of {self.anchors['max_lifetime']} s leaves too many expiries to try")
        for epoch in self.epochs:
            for requester in {bridge["requester"] for bridge in epoch["bridges"]}:
                fields = list(hashes.chain_request(self.request, requester, 0, epoch["epoch"]))
                for expires_at in range(start + 1, start + self.anchors["max_lifetime"] + 1):
                    fields[5] = expires_at
                    if hashes.authorization_id(fields) == self.response["authorization_id"]:
                        self.fields = tuple(fields)
                        return
        raise Refused("authorization_id follows from no expiry within the pinned lifetime")

    # Step 3

    def _epoch(self) -> dict:
        for epoch in self.anchors["epochs"]:
            if epoch["epoch"] == self.evidence["epoch"]:
                return epoch
        raise Refused(f"epoch {self.evidence['epoch']} is not pinned")

    def _nobody(self):
        if self.response["approver"] != shapes.ZERO_ADDRESS or self.response["conditions"]:
            raise Refused("a response without evidence names an approver or conditions")

    def _votes(self):
        response, evidence, votes = self.response, self.evidence, self.evidence["votes"]
        epoch = self._epoch()
        if (response["decision"] == "denied") != (response["denial_reason"] is not None):
            raise Refused("a denial has a reason, and nothing else has one")
        roles = {approver["address"]: approver["role"] for approver in epoch["approvers"]}
        addresses = [unhex(vote["approver"]) for vote in votes]
        if any(first >= second for first, second in zip(addresses, addresses[1:])):
            raise Refused("votes stand by ascending address, each approver once")
        for vote in votes:
            if vote["approver"] not in roles:
                raise Refused(f"{vote['approver']} is no approver of epoch {epoch['epoch']}")
            if vote["approver"] == evidence["requester"]:
                raise Refused("the requester is never an approver")
            self._signed(vote)
        if self.sort == "approved":
            self._quorum(epoch, roles)
        elif self.sort == "denied":
            if len(votes) != 1 or votes[0]["approve"]:
                raise Refused("a denial is proven by one denial")
            if (response["approver"], response["denial_reason"]) != (votes[0]["approver"], votes[0]["note"]):
                raise Refused("approver or denial_reason is not the vote's")
        elif votes:
            raise Refused(f"a {self.sort} response holds no votes")
        elif self.sort in ("consumed", "recorded") and response["approver"] != shapes.ZERO_ADDRESS:
            raise Refused(f"a {self.sort} response names no approver")
        if response["conditions"] != self._conditions():
            raise Refused("conditions are not the votes'")

    def _quorum(self, epoch: dict, roles: dict[str, str]):
        votes = self.evidence["votes"]
        if not all(vote["approve"] for vote in votes):
            raise Refused("an approved response holds a denial")
        if self.response["approver"] not in {vote["approver"] for vote in votes}:
            raise Refused("approver is none of those who voted")
        line = [line for line in epoch["policy"] if self.evidence["risk_bps"] >= line["min_risk_bps"]][-1]
        for role, count in line["quorum"].items():
            if sum(role in ("any", roles[vote["approver"]]) for vote in votes) < count:
                raise Refused(f"the quorum needs {count} of {role}")

    def _conditions(self) -> list[str]:
        if self.sort != "approved":
            return []
        votes = sorted(self.evidence["votes"], key=lambda vote: unhex(vote["approver"]))
        return [line for vote in votes for line in vote["note"].split("\n") if line]

    def _signed(self, vote: dict):
        if "transaction" in vote:
            self._signed_transaction(vote)
            return
        message = hashes.vote_message(
            self.domain, self.response["authorization_id"], self.request, vote["approve"], vote["note"]
        )
        try:
            if hashes.recover(message, vote["signature"]) == vote["approver"]:
                return
            reason = "its signature is another's"
        except Refused as refused:
            reason = str(refused)
        if self.endpoint is None:
            raise Refused(f"not checkable: the vote of {vote['approver']} is no ECDSA vote of that address ({reason})")
        asked = (vote["approver"], hashes.digest(message), unhex(vote["signature"]))
        if not self.endpoint.accepts(*asked, self.anchors["contract"], self.response["block_number"]):
            raise Refused(f"{vote['approver']} did not sign its vote ({reason})")

    def _signed_transaction(self, vote: dict):
        transaction = chain_proofs.read_transaction(unhex(vote["transaction"]))
        if transaction.sender != vote["approver"]:
            raise Refused("the vote's transaction is another's")
        if transaction.chain_id != self.anchors["chain_id"]:
            raise Refused("the vote's transaction is for another chain")
        if transaction.to != unhex(self.anchors["contract"]):
            raise Refused("the vote's transaction is to another contract")
        if transaction.calldata != hashes.vote_calldata(self.fields, vote["approve"], vote["note"]):
            raise Refused("the vote's transaction is no such vote")

    # Step 4

    def _proofs(self):
        response, evidence = self.response, self.evidence
        raw_header = unhex(evidence["block_header"])
        if chain_proofs.keccak(raw_header) != unhex(response["block_hash"]):
            raise Refused("block_hash is not the header's")
        header, index = chain_proofs.read_header(raw_header), evidence["transaction_index"]
        if header.number != response["block_number"]:
            raise Refused("block_number is not the header's")
        transaction = self._proven("transaction", header.transactions_root, index)
        if chain_proofs.keccak(transaction) != unhex(response["blockchain_tx_hash"]):
            raise Refused("blockchain_tx_hash is not the transaction's")
        logs = chain_proofs.read_logs(self._proven("receipt", header.receipts_root, index), transaction)
        if evidence["log_index"] >= len(logs):
            raise Refused("the receipt has no log of that index")
        self._log(logs[evidence["log_index"]])

    def _proven(self, what: str, root: bytes, index: int) -> bytes:
        return chain_proofs.prove(what, root, index, [unhex(node) for node in self.evidence[f"{what}_proof"]])

    def _log(self, log: chain_proofs.Log):
        response, event = self.response, EVENT_OF[self.sort]
        if log.address != self.anchors["contract"]:
            raise Refused("the log is another contract's")
        if not log.topics or log.topics[0] != chain_proofs.topic(event):
            raise Refused(f"the log is no {event}")
        committed = self.outcome_hash() if self.sort == "recorded" else response["action_hash"]
        if log.topics[1:3] != [unhex(response["authorization_id"]), unhex(committed)]:
            raise Refused(f"the {event} is of another id or hash")
        values = log.read(event)
        if self.sort == "recorded":
            if len(log.topics) != 3 or values != [hashes.OUTCOMES[self.outcome]]:
                raise Refused("the outcome on the chain is another")
            return
        if len(log.topics) != 4 or log.topics[3][:12] != bytes(12):
            raise Refused(f"the {event} names nobody")
        actor = chain_proofs.to_checksum_address(log.topics[3][12:])
        if self.sort == "consumed":
            if values[0] != unhex(self.claim):
                raise Refused("the consumption carries another claim")
            if actor != self.evidence["requester"]:
                raise Refused("it was consumed by another than the requester")
        elif self.sort == "cancelled":
            if response["denial_reason"] != f"cancelled: {values[0]}":
                raise Refused("denial_reason is not the log's")
            self._approver(actor)
        else:
            self._approver(actor)
            if self.sort == "denied" and response["denial_reason"] != values[0]:
                raise Refused("denial_reason is not the log's")

    def _approver(self, expected: str):
        if self.response["approver"] != expected:
            raise Refused("approver is not as in the event")

    def outcome_hash(self) -> str:
        return hashes.outcome_hash(self.response["authorization_id"], self.claim, self.outcome, self.result)

    # Step 5

    def _bridge(self):
        response, evidence = self.response, self.evidence
        expected = shapes.ZERO_DIGEST if evidence is None else hashes.sha256_jcs(evidence)
        if response["evidence_hash"] != expected:
            raise Refused("evidence_hash is not the evidence's")
        signer = hashes.recover(hashes.response_message(self.domain, response), response["signature"])
        epochs = self.anchors["epochs"] if evidence is None else [self._epoch()]
        requester = evidence["requester"] if evidence else (self.fields[4] if self.fields else None)
        for epoch in epochs:
            for bridge in epoch["bridges"]:
                if bridge["signer"] == signer and requester in (None, bridge["requester"]):
                    return
        raise Refused(f"signed by {signer}, who is no pinned signer for that requester")

    # Step 6

    def _chain(self):
        self.endpoint.same_chain(self.anchors)
        block = None
        if self.evidence is not None:
            block = self.response["block_number"]
            self.endpoint.canonical(block, self.response["block_hash"], self.anchors.get("confirmations", 1))
        status = self.endpoint.status(self.anchors["contract"], self.response["authorization_id"], block)
        if status not in STATUS_OF[self.sort]:
            raise Refused(f"the contract says status {status} of the id")
