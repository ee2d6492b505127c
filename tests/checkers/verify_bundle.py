#!/usr/bin/env python3
"""Verifies evidence bundles by docs/PROTOCOL.md alone, with none of Guardrail's own code.

    python verify_bundle.py --anchors anchors.json [--rpc-url URL] [--json] BUNDLE.json...

Anchors are JSON here (`guardrail anchors init --json`). Exit status: 0 all verified, 2 usage, 5 one is not.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import shapes
import strict_json
from endpoint import Endpoint
from responses import STEPS, Check, Report, Step
from strict_json import Refused

BUNDLE_BYTES_MAX = 4 * 1024 * 1024
BUNDLE_NESTING_MAX = 34
NESTING_MAX = 32
REQUEST_BYTES_MAX = 256 * 1024
RESPONSE_BYTES_MAX = 1024 * 1024
ANCHORS_BYTES_MAX = 1024 * 1024
BUNDLE = {
    "bundle": lambda value: type(value) is int and value == 1,
    "request": shapes.is_object,
    "anchors": shapes.is_object,
    "decision": shapes.is_object,
    "consumption": lambda value: value is None or isinstance(value, dict),
    "outcome": lambda value: value is None or isinstance(value, dict),
}
CONSUMPTION = {"claim": shapes.is_digest, "response": shapes.is_object}
OUTCOME = {
    "outcome": lambda value: value in ("succeeded", "failed", "unknown"),
    "result": lambda value: True,
    "response": shapes.is_object,
}


def read_anchors(path: Path) -> dict:
    tree = strict_json.parse(path.read_bytes(), ANCHORS_BYTES_MAX)
    anchors = shapes.check_anchors("anchors", tree, shapes.ANCHORS_OWN)
    if anchors.get("chain_check") in ("off", False) and anchors["chain_id"] != 31337:
        raise Refused("chain_check is off on chain id 31337 only")
    return anchors


def read_bundle(data: bytes, pinned: dict) -> dict:
    """Parses a bundle and holds it to its form: canonical bytes, exact members, the anchors that are pinned."""
    bundle = strict_json.parse(data, BUNDLE_BYTES_MAX, BUNDLE_NESTING_MAX)
    if strict_json.canonical(bundle) != data:
        raise Refused("canonical: the bytes are not RFC 8785's")
    shapes.members("bundle", bundle, BUNDLE)
    _limit("request", bundle["request"], REQUEST_BYTES_MAX)
    _shallow("request", bundle["request"])
    shapes.check_request(bundle["request"])
    _check_pinned(bundle["anchors"], pinned)
    parts = [("decision", bundle["decision"], ("approved", "denied"))]
    if bundle["consumption"] is not None:
        shapes.members("consumption", bundle["consumption"], CONSUMPTION)
        parts.append(("consumption", bundle["consumption"]["response"], ("consumed",)))
    if bundle["outcome"] is not None:
        shapes.members("outcome", bundle["outcome"], OUTCOME)
        _shallow("result", bundle["outcome"]["result"])
        parts.append(("outcome", bundle["outcome"]["response"], ("recorded",)))
    for what, response, decisions in parts:
        _limit(what, response, RESPONSE_BYTES_MAX)
        shapes.check_response(what, response)
        if response["decision"] not in decisions:
            raise Refused(f"{what}: {response['decision']} is not what belongs there")
    if bundle["consumption"] is not None and bundle["decision"]["decision"] != "approved":
        raise Refused("only what was approved is consumed")
    if bundle["outcome"] is not None and bundle["consumption"] is None:
        raise Refused("only what was consumed has an outcome")
    return bundle


def _limit(what: str, tree: Any, size_max: int):
    size = len(strict_json.canonical(tree))
    if size > size_max:
        raise Refused(f"{what} is too large: {size} bytes, at most {size_max}")


def _shallow(what: str, tree: Any):
    if strict_json.nesting(tree) > NESTING_MAX:
        raise Refused(f"nesting over {NESTING_MAX} in {what}")


def _check_pinned(anchors: dict, pinned: dict):
    shapes.check_anchors("anchors", anchors, {})
    if len(anchors["epochs"]) != 1:
        raise Refused("the anchors of a bundle hold one epoch")
    number = anchors["epochs"][0]["epoch"]
    expected = {name: value for name, value in pinned.items() if name not in shapes.ANCHORS_OWN}
    expected["epochs"] = [epoch for epoch in pinned["epochs"] if epoch["epoch"] == number]
    if strict_json.canonical(anchors) != strict_json.canonical(expected):
        raise Refused("the bundle's anchors are not those that are pinned")


def verify(data: bytes, pinned: dict, endpoint: Endpoint | None) -> list[Report]:
    """One report for the file and one for each response; those after a failed one are not made."""
    try:
        bundle = read_bundle(data, pinned)
    except Refused as refused:
        return [Report("bundle", [Step(0, "failed", str(refused))])]
    reports = [Report("bundle", [Step(0, "passed")])]
    anchors = bundle["anchors"] | {"confirmations": pinned.get("confirmations", 1)}
    consumption, outcome = bundle["consumption"] or {}, bundle["outcome"] or {}
    common = {
        "request": bundle["request"],
        "anchors": anchors,
        "epochs": pinned["epochs"],
        "identifier": bundle["decision"]["authorization_id"],
        "claim": consumption.get("claim"),
        "endpoint": endpoint,
    }
    parts = [("decision", Check(response=bundle["decision"], **common))]
    if consumption:
        parts.append(("consumption", Check(response=consumption["response"], **common)))
    if outcome:
        told = {"outcome": outcome["outcome"], "result": outcome["result"]}
        parts.append(("outcome", Check(response=outcome["response"], **told, **common)))
    for what, check in parts:
        reports.append(check.report(what))
        if reports[-1].failed:
            break
    return reports


def as_json(path: str, reports: list[Report]) -> dict:
    return {
        "file": path,
        "verified": not any(report.failed for report in reports),
        "reports": [
            {
                "what": report.what,
                "steps": [{"step": s.number, "verdict": s.verdict, "reason": s.reason} for s in report.steps],
            }
            for report in reports
        ],
    }


def as_text(path: str, reports: list[Report]) -> str:
    lines = [path]
    for report in reports:
        for step in report.steps:
            name = STEPS.get(step.number, "form")
            reason = f": {step.reason}" if step.reason else ""
            lines.append(f"  {report.what:<12} {step.number} {name:<20} {step.verdict}{reason}")
    lines.append("  not verified" if any(report.failed for report in reports) else "  verified")
    return "\n".join(lines)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--anchors", required=True, type=Path)
    arguments.add_argument("--rpc-url")
    arguments.add_argument("--json", action="store_true", help="one line of JSON a bundle")
    arguments.add_argument("bundle", nargs="+", type=Path)
    given = arguments.parse_args()
    try:
        pinned = read_anchors(given.anchors)
    except (OSError, Refused) as error:
        print(f"verify_bundle: {given.anchors}: {error}", file=sys.stderr)
        return 2
    endpoint = Endpoint(given.rpc_url) if given.rpc_url else None
    all_verified = True
    for path in given.bundle:
        try:
            with path.open("rb") as file:
                data = file.read(BUNDLE_BYTES_MAX + 1)
        except OSError as error:
            print(f"verify_bundle: {path}: {error}", file=sys.stderr)
            return 2
        reports = verify(data, pinned, endpoint)
        all_verified &= not any(report.failed for report in reports)
        print(json.dumps(as_json(str(path), reports)) if given.json else as_text(str(path), reports))
    return 0 if all_verified else 5


if __name__ == "__main__":
    sys.exit(main())
