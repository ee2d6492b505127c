//! A full disk and a channel that cannot be written, on mounts of the test's own: everything waits, says so, and goes on.
//!
//! Each test runs itself again in a mount namespace of its own, so that its mounts are nobody else's
//! and go with it, however it ends.

use guardrail::schema::AuthResponse;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fault_support::{End, Life, Observer, alarms, alarms_become, becomes, drive, free_port};
use crate::jsonrpc::exchange;
use crate::support::{World, request};

/// Says that this process has its own mounts.
const INSIDE: &str = "GUARDRAIL_TEST_OWN_MOUNTS";
/// Bytes of a parameter that makes a request too large for what is left of a full disk.
const LARGE: usize = 100_000;

/// `true` in a mount namespace of the test's own. Elsewhere it runs the test there, by `unshare`,
/// as root or in a user namespace, and passes its verdict on.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let flags = if rustix::process::geteuid().is_root() { "--mount" } else { "--user --map-root-user --mount" };
    let output = Command::new("unshare")
        .args(flags.split(' '))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("disk_full::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs unshare(1) of util-linux");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        text(&output.stdout).contains("test result: ok. 1 passed"),
        "in a mount namespace of its own (which takes root, or user namespaces that are allowed): {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    false
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().expect("this test needs mount(8)");
    assert!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a small file system of its own where a directory of the world will be.
fn small_disk(world: &World, directory: &str, size: &str) {
    let at = world.path(directory);
    std::fs::DirBuilder::new().mode(0o700).create(&at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"], &at);
}

/// Takes every byte that is left.
fn fill(directory: &Path) {
    let mut ballast = std::fs::File::create(directory.join("ballast")).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while ballast.write_all(&vec![0; size]).is_ok() {}
    }
}

fn free(directory: &Path) {
    std::fs::remove_file(directory.join("ballast")).unwrap();
}

fn large(number: usize) -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": "main", "why": number.to_string().repeat(LARGE)}))
}

fn health(address: &str) -> (u16, Value) {
    let answer = exchange(address, "GET /health HTTP/1.1", b"").unwrap();
    (answer.status(), serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn a_full_disk_of_the_journal_is_waited_out() {
    if !inside("a_full_disk_of_the_journal_is_waited_out") {
        return;
    }
    let world = World::new();
    small_disk(&world, "state", "16m");
    let address = format!("127.0.0.1:{}", free_port());
    world.configure(&[("listen", &format!("\"{address}\""))]);
    let bridge = world.bridge();
    let observer = Observer::new(&world);
    let mut lives = vec![Life::of(large(0), End::Recorded).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);

    bridge.signal(Signal::STOP);
    fill(&world.path("state"));
    lives.extend((1..9).map(|number| Life::of(large(number), End::Approved).begin(&observer.channel)));
    bridge.signal(Signal::CONT);
    alarms_become(&world, &["disk_full"]);
    let (code, page) = health(&address);
    assert_eq!((code, alarms(&page)), (503, vec!["disk_full".to_owned()]));
    // Nothing is dropped, refused or answered that is not in the journal.
    assert_eq!(world.quarantined(), []);
    assert_eq!(world.files("responses").len(), 3);

    free(&world.path("state"));
    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
}

#[test]
fn a_bridge_killed_while_its_disk_is_full_goes_on() {
    if !inside("a_bridge_killed_while_its_disk_is_full_goes_on") {
        return;
    }
    let world = World::new();
    small_disk(&world, "state", "16m");
    let mut bridge = world.bridge();
    let observer = Observer::new(&world);
    bridge.signal(Signal::STOP);
    fill(&world.path("state"));
    let mut lives: Vec<Life> =
        (0..8).map(|number| Life::of(large(number), End::Approved).begin(&observer.channel)).collect();
    bridge.signal(Signal::CONT);
    alarms_become(&world, &["disk_full"]);
    bridge.kill();
    free(&world.path("state"));
    let _bridge = world.bridge();
    drive(&world, &observer, &mut lives);
    observer.check(&world, &lives);
}

#[test]
fn a_full_disk_of_the_channel_shows_no_half_of_an_answer() {
    if !inside("a_full_disk_of_the_channel_shows_no_half_of_an_answer") {
        return;
    }
    let world = World::new();
    small_disk(&world, "channel", "4m");
    let bridge = world.bridge();
    let observer = Observer::new(&world);
    let mut life = Life::of(large(0), End::Recorded).begin(&observer.channel);
    let id = observer.requested(&world, life.id());
    bridge.signal(Signal::STOP);
    life.approve(&observer, id);
    fill(&world.path("channel"));
    bridge.signal(Signal::CONT);
    alarms_become(&world, &["disk_full"]);
    // The vote's own file made room for one block; whatever is visible by that is whole.
    for name in world.files("responses") {
        AuthResponse::parse(&std::fs::read(world.path("channel/responses").join(&name)).unwrap()).unwrap();
    }
    free(&world.path("channel"));
    let mut lives = [life];
    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
    assert_eq!(world.quarantined(), []);
}

#[test]
fn a_channel_that_cannot_be_written_is_waited_out() {
    if !inside("a_channel_that_cannot_be_written_is_waited_out") {
        return;
    }
    let world = World::new();
    let bridge = world.bridge();
    let observer = Observer::new(&world);
    let mut lives = vec![Life::of(large(0), End::Approved).begin(&observer.channel)];
    drive(&world, &observer, &mut lives);

    bridge.signal(Signal::STOP);
    lives.push(Life::of(large(1), End::Recorded).begin(&observer.channel));
    let channel = world.path("channel");
    // Over itself: what is open stays as it is, and every new look at a path finds it read-only.
    mount(&["--bind", channel.to_str().unwrap()], &channel);
    mount(&["-o", "remount,bind,ro"], &channel);
    bridge.signal(Signal::CONT);
    alarms_become(&world, &["channel_not_writable"]);
    assert_eq!(observer.ledger().requests(), 1);
    let lifted = Command::new("umount").arg("--lazy").arg(&channel).output().unwrap();
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));

    drive(&world, &observer, &mut lives);
    alarms_become(&world, &[]);
    observer.check(&world, &lives);
    becomes("quarantine/", &Vec::new(), || world.quarantined());
}
