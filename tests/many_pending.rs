//! Thousands of pending requests across a SIGKILL: none is lost, none is there twice, one vote is answered.

use guardrail::schema::RequestState;
use serde_json::json;

use crate::fault_support::{End, Life, Observer, becomes, drive, patience, size, states_of, status};
use crate::support::{World, request};

#[test]
fn thousands_of_pending_requests_outlive_their_bridge() {
    let requests = size(1_500, 10_000);
    let world = World::new();
    world.configure(&[("authorization_timeout_s", "7200")]);
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    let mut lives: Vec<Life> =
        (0..requests).map(|number| Life::of(sample(number), End::Pending).begin(&observer.channel)).collect();
    // In the middle of it, and again when everything is there.
    world.eventually_within(patience(), "a part is on the chain", || {
        (observer.ledger().requests() > requests / 10).then_some(())
    });
    bridge.kill();
    bridge = world.bridge();
    world.eventually_within(patience(), "every request is on the chain", || {
        (observer.ledger().requests() == requests).then_some(())
    });
    bridge.kill();
    let pending = states_of(&vec![RequestState::Pending; requests]);
    let _bridge = world.bridge();
    becomes("the journal after the restart", &(pending, json!(requests)), || {
        let mut status = status(&world);
        (status["states"].take(), status["open"].take())
    });
    lives[requests / 2].end = End::Approved;
    drive(&world, &observer, &mut lives);
    observer.check(&world, &lives);
    assert_eq!(world.quarantined(), []);
}

fn sample(number: usize) -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": format!("release-{number}")}))
}
