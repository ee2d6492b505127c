//! One bridge serves one channel, and one sends for one account.

use crate::support::World;

#[test]
fn a_second_bridge_on_the_same_channel_refuses_to_start() {
    let world = World::new();
    let _bridge = world.bridge();
    let other = world.command(&["bridge"]).env("GUARDRAIL_STATE_DIR", world.path("state2")).output().unwrap();
    let path = world.path("channel/.bridge.lock");
    assert_eq!(
        (other.status.code(), String::from_utf8(other.stderr).unwrap()),
        (
            Some(1),
            format!(
                "error: another bridge holds {}; one bridge serves one channel\n  hint: stop the other bridge first\n",
                path.display()
            )
        )
    );
}

#[test]
fn a_second_bridge_with_the_same_key_refuses_to_start() {
    let world = World::new();
    let _bridge = world.bridge();
    let elsewhere = [("GUARDRAIL_CHANNEL", world.path("channel2")), ("GUARDRAIL_STATE_DIR", world.path("state2"))];
    let other = world.command(&["bridge"]).envs(elsewhere).output().unwrap();
    let lock = std::fs::read_dir(world.path("locks")).unwrap().next().unwrap().unwrap().path();
    let account = crate::support::dev(0).address();
    assert_eq!(
        (other.status.code(), String::from_utf8(other.stderr).unwrap()),
        (
            Some(1),
            format!(
                "error: another bridge on this host sends for {account} on this chain: {} is locked\n  hint: stop the other bridge first\n",
                lock.display()
            )
        )
    );
}

#[test]
fn a_bridge_takes_over_once_the_other_is_dead() {
    let world = World::new();
    let mut first = world.bridge();
    first.kill();
    let mut second = world.bridge();
    assert!(second.alive());
}
