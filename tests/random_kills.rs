//! SIGKILL at random moments, again and again, while requests, votes and outcomes come in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::fault_support::{Dice, End, Life, Observer, drive, size};
use crate::support::{World, request};

/// The longest that a bridge lives between two kills, in milliseconds.
const LIFE_MS_MAX: u64 = 700;

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_nothing() {
    let mut dice = Dice::roll_out("random_kills");
    let (requests, kills) = (size(40, 200), size(8, 30));
    let world = World::new();
    world.configure(&[("authorization_timeout_s", "3600")]);
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    let lives = Mutex::new(Vec::<Life>::new());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let people = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let ledger = observer.ledger();
                for life in lives.lock().unwrap().iter_mut() {
                    life.advance(&observer, &ledger);
                }
            }
        });
        for kill in 0..kills {
            // Spread over the kills; the ends go round: half are approved, of these some go on.
            for index in kill * requests / kills..(kill + 1) * requests / kills {
                let end = [End::Pending, End::Approved, End::Pending, End::Consumed, End::Pending, End::Recorded];
                let life = Life::of(sample(index), end[index % end.len()]).begin(&observer.channel);
                lives.lock().unwrap().push(life);
            }
            std::thread::sleep(dice.millis_below(LIFE_MS_MAX));
            bridge.kill();
            bridge = world.bridge();
        }
        over.store(true, Ordering::SeqCst);
        people.join().unwrap();
    });
    let mut lives = lives.into_inner().unwrap();
    assert_eq!(lives.len(), requests);
    drive(&world, &observer, &mut lives);
    observer.check(&world, &lives);
    assert_eq!(world.quarantined(), []);
}

/// Both lines of the policy, by turns.
fn sample(index: usize) -> guardrail::schema::AuthRequest {
    let risk = if index.is_multiple_of(2) { 0.8 } else { 0.9 };
    request("deploy_to_production", risk, json!({"branch": format!("release-{index}")}))
}
