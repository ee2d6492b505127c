//! What a process finds that comes after one that was killed. The live path needs a chain and
//! is in the integration tests.

use std::collections::BTreeSet;

use super::*;
use crate::graph::agent::AtInterrupt;
use crate::graph::checkpoint::NewCheckpoint;
use crate::graph::end::{ExitCode, RunEnd};
use crate::graph::state::CheckpointId;
use crate::graph::test_bench::{Bench, delete, finish, go_on, results};
use crate::graph::topology::Target;

/// An agent that was killed in `critical_execution` with an approval, a claim that it asked
/// to consume under, and a proof that it was consumed.
async fn killed_after_consuming() -> (Bench, RequestId, CheckpointId) {
    let mut bench = Bench::new(vec![delete(), finish("over")]);
    bench.config.agent.record_timeout = 1;
    bench.at_interrupt = AtInterrupt::Leave;
    let told = bench.agent();
    let mut state = told.agent.run(None, "Delete the users database", &go_on()).await.unwrap().state;
    let authorization_id = AuthorizationId(B256::repeat_byte(7));
    state.pending_authorization = false;
    state.authorization =
        Some(Authorization::Approved { authorization_id, conditions: vec!["at night".to_owned()], outcome: None });
    let store = told.agent.store();
    let lock = store.lock_thread(&state.thread).unwrap();
    let id = store
        .put(
            &lock,
            NewCheckpoint {
                parent: None,
                node: Some(Node::AuthorizationHandler),
                next: Target::Node(Node::CriticalExecution),
                state: &state,
                now: Timestamp::now(),
            },
        )
        .unwrap();
    let request_id = bench.published().request_id.clone();
    let stop = go_on();
    let run = Run { lock: &lock, stop: &stop, began: Timestamp::now() };
    let request = state.request().unwrap().unwrap();
    let execution = Execution { run: &run, request, id: authorization_id, conditions: Vec::new(), own: Own::default() };
    told.agent.draw_claim(&execution).unwrap();
    let claim = told.agent.claim_record(&execution).unwrap().message.claim;
    let records = &told.agent.records;
    records.write_asked(&request_id, &AskedRecord { claim, at: Timestamp::now() }).unwrap();
    records.store_evidence(&request_id, Evidence::Consumed, br#"{"decision":"consumed"}"#).unwrap();
    (bench, request_id, id)
}

async fn resumed(bench: &Bench, id: &CheckpointId) -> RunEnd {
    bench.agent().agent.resume(id, &go_on()).await.unwrap()
}

#[tokio::test]
async fn consumed_without_an_outcome_is_unknown_is_recorded_so_and_stays_so() {
    let (bench, request_id, id) = killed_after_consuming().await;
    let end = resumed(&bench, &id).await;
    assert_eq!((end.exit_code(), end.can_go_on(), results(&end)), (ExitCode::Unknown, false, vec![(false, false)]));
    let records = crate::graph::records::Records::open(&bench.path("state")).unwrap();
    let outcome = records.outcome(&request_id).unwrap().unwrap();
    assert_eq!((outcome.message.outcome, outcome.not_run), (Outcome::Unknown, None));
    assert_eq!(outcome.result["conditions"], json!(["at night"]));
    let claim = records.claim(&request_id).unwrap().unwrap();
    assert_eq!(outcome.message.claim_secret, claim.claim_secret);
    let id_of = outcome.message.authorization_id;
    let hash = outcome_hash(id_of, claim.message.claim, Outcome::Unknown, &outcome.result).unwrap();
    assert_eq!(outcome.message.outcome_hash, hash);
    assert_eq!(
        bench.names("channel/requests"),
        BTreeSet::from([format!("{request_id}.json"), format!("{request_id}.outcome.json")])
    );
    assert_eq!(bench.names("state/intents"), BTreeSet::new());

    for from in [&end.checkpoint, &id] {
        let again = resumed(&bench, from).await;
        assert_eq!(again.exit_code(), ExitCode::Unknown, "{from}");
        assert_eq!(records.outcome(&request_id).unwrap(), Some(outcome.clone()));
    }
}

#[tokio::test]
async fn an_intent_that_was_found_changes_nothing() {
    let (bench, request_id, id) = killed_after_consuming().await;
    let records = crate::graph::records::Records::open(&bench.path("state")).unwrap();
    let claim = records.claim(&request_id).unwrap().unwrap().message;
    let intent = IntentRecord {
        request_id: request_id.clone(),
        authorization_id: claim.authorization_id,
        claim: claim.claim,
        tool_name: "delete_database".parse().unwrap(),
        action_hash: claim.action_hash,
        at: Timestamp::now(),
    };
    records.write_intent(&intent).unwrap();
    assert_eq!(resumed(&bench, &id).await.exit_code(), ExitCode::Unknown);
}

#[tokio::test]
async fn an_outcome_that_was_written_is_what_the_planner_is_told() {
    let (bench, request_id, id) = killed_after_consuming().await;
    let records = crate::graph::records::Records::open(&bench.path("state")).unwrap();
    let claim = records.claim(&request_id).unwrap().unwrap();
    let result = json!({ "value": {"deleted": true, "simulated": true}, "conditions": [] });
    let id_of = claim.message.authorization_id;
    let message = OutcomeMessage {
        kind: OutcomeKind::Outcome,
        request_id: request_id.clone(),
        authorization_id: id_of,
        claim_secret: claim.claim_secret,
        outcome: Outcome::Succeeded,
        outcome_hash: outcome_hash(id_of, claim.message.claim, Outcome::Succeeded, &result).unwrap(),
        timestamp: Timestamp::now(),
    };
    records.write_outcome(&OutcomeRecord { message, result, not_run: None }).unwrap();
    let end = resumed(&bench, &id).await;
    assert_eq!((end.answer(), end.exit_code(), results(&end)), (Some("over"), ExitCode::Done, vec![(true, false)]));
    let told = end.state.messages[2].result.as_ref().unwrap();
    assert_eq!(
        told.value,
        json!({ "deleted": true, "simulated": true, "authorization": { "outcome": "succeeded", "conditions": [] } })
    );
    assert_eq!(end.state.execution_results[0].outcome, Some(Outcome::Succeeded));
}
