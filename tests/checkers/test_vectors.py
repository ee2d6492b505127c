"""The worked cases of ../vectors/protocol_v1.json, by these checkers. Run: python -m unittest discover tests/checkers"""

import hashlib
import json
import unittest
from pathlib import Path

import chain_proofs
import hashes
import shapes
import strict_json

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "protocol_v1.json").read_text(encoding="utf-8"))
DOMAIN = VECTORS["domain"]


class Vectors(unittest.TestCase):
    def test_hashes_ids_and_signers(self):
        self.assertEqual(len(VECTORS["cases"]), 3)
        for case in VECTORS["cases"]:
            request = shapes.check_request(case["request"])
            self.assertEqual(strict_json.canonical(hashes.action_preimage(request)).decode(), case["action_preimage_jcs"])
            self.assertEqual(hashes.action_hash(request), case["action_hash"])
            self.assertEqual(hashes.sha256_jcs(request), case["request_hash"])
            self.assertEqual(hashes.risk_bps(request), case["risk_bps"])
            fields = hashes.chain_request(request, case["requester"], case["expires_at"], case["epoch"])
            identifier = hashes.authorization_id(fields)
            self.assertEqual(identifier, case["authorization_id"])

            vote = case["vote"]
            message = hashes.vote_message(DOMAIN, identifier, request, vote["approve"], vote["note"])
            self.assertEqual("0x" + hashes.digest(message).hex(), vote["eip712_digest"])
            self.assertEqual(hashes.recover(message, vote["signature"]), vote["signer"])

            response = shapes.check_response(
                "response", case["response"] | {"signature": case["response_signature"], "evidence": None}
            )
            message = hashes.response_message(DOMAIN, response)
            self.assertEqual("0x" + hashes.digest(message).hex(), case["response_eip712_digest"])
            self.assertEqual(hashes.recover(message, response["signature"]), case["response_signer"])

    def test_signatures_have_one_form(self):
        case = VECTORS["cases"][0]
        vote = case["vote"]
        message = hashes.vote_message(DOMAIN, case["authorization_id"], case["request"], vote["approve"], vote["note"])
        data = hashes.unhex(vote["signature"])
        s = int.from_bytes(data[32:64])
        twin = data[:32] + (hashes.CURVE_ORDER - s).to_bytes(32) + bytes([55 - data[64]])
        for bad in (twin, data[:64] + bytes([data[64] - 27]), data[:64], data + b"\0", bytes(64) + b"\x1b"):
            with self.assertRaises(strict_json.Refused):
                hashes.recover(message, "0x" + bad.hex())

    def test_refused_json(self):
        self.assertEqual(len(VECTORS["refused_json"]), 7)
        for case in VECTORS["refused_json"]:
            data = case["json"].encode() if "json" in case else bytes.fromhex(case["hex"])
            with self.assertRaises(strict_json.Refused) as refused:
                strict_json.parse(data, 256 * 1024)
            self.assertEqual(str(refused.exception), case["rule"])

    def test_hostile_json_is_refused_by_its_rule(self):
        for data, rule in [
            (b"[" * 1_000_000, "nesting over 32"),
            (b'{"a":' + b"9" * 100_000 + b"}", "integer beyond 2^53-1"),
            (b'{"a":NaN}', "not JSON: NaN"),
            (b" " * 2_000_000, "too large: 2000000 bytes, at most 1048576"),
        ]:
            with self.assertRaises(strict_json.Refused) as refused:
                strict_json.parse(data, 1024 * 1024)
            self.assertEqual(str(refused.exception), rule)

    def test_seals_and_outcomes(self):
        for case in VECTORS["seals"]:
            preimage = b"guardrail.seal.v1" + bytes.fromhex(case["k"]) + strict_json.canonical(case["value"])
            self.assertEqual(hashlib.sha256(preimage).hexdigest(), case["sealed"])
        for case in VECTORS["outcomes"]:
            self.assertEqual(hashlib.sha256(bytes.fromhex(case["claim_secret"])).hexdigest(), case["claim"])
            found = hashes.outcome_hash(case["authorization_id"], case["claim"], case["outcome"], case["result"])
            self.assertEqual(found, case["outcome_hash"])

    def test_topics_and_the_vote_selector(self):
        for event in chain_proofs.EVENTS:
            self.assertEqual("0x" + chain_proofs.topic(event).hex(), VECTORS["event_topics"][event])
        self.assertEqual("0x" + hashes.VOTE_SELECTOR.hex(), VECTORS["vote_selector"])


if __name__ == "__main__":
    unittest.main()
