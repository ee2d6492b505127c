//! More files than the kernel can tell of: the event queue overflows, and every file is found all the same.

use std::path::Path;

use guardrail::channel::QUARANTINE_FILES_MAX;
use rustix::process::Signal;
use serde_json::json;

use crate::fault_support::{End, Life, Observer, becomes, patience, size};
use crate::support::{World, request};

#[test]
fn files_beyond_the_event_queue_are_all_found() {
    let (files, valid) = (size(5_000, 50_000), size(60, 300));
    let world = World::in_memory();
    world.configure(&[("authorization_timeout_s", "3600")]);
    let bridge = world.bridge();
    let observer = Observer::new(&world);
    let (staged, requests) = (world.path("staged"), world.path("channel/requests"));
    std::fs::create_dir(&staged).unwrap();
    let lives: Vec<Life> = (0..valid).map(|number| Life::of(sample(number), End::Pending)).collect();
    let mut names: Vec<String> = (valid..files).map(|number| format!("refused-{number:06}.json")).collect();
    for name in &names {
        std::fs::write(staged.join(name), b"{}").unwrap();
    }
    for life in &lives {
        let name = format!("{}.json", life.id());
        std::fs::write(staged.join(&name), life.request.canonical().unwrap()).unwrap();
        names.push(name);
    }

    // A stopped bridge reads no event, so what does not fit into the queue is lost for certain.
    bridge.signal(Signal::STOP);
    let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    churn(&staged.join(&names[0]), &requests.join("there-and-back.json"), queue.saturating_sub(files) / 2 + 1);
    for name in &names {
        std::fs::rename(staged.join(name), requests.join(name)).unwrap();
    }
    bridge.signal(Signal::CONT);

    world.eventually_within(patience(), "requests/ is empty", || world.files("requests").is_empty().then_some(()));
    world.eventually_within(patience(), "every valid request is on the chain", || {
        (observer.ledger().requests() == valid).then_some(())
    });
    // Files and reasons; the first to come are the first to go.
    becomes("quarantine/", &(2 * QUARANTINE_FILES_MAX), || world.files("quarantine").len());
    observer.check(&world, &lives);
}

/// Moves a file to a place and back, so often: two events a time.
fn churn(from: &Path, to: &Path, times: usize) {
    for _ in 0..times {
        std::fs::rename(from, to).unwrap();
        std::fs::rename(to, from).unwrap();
    }
}

fn sample(number: usize) -> guardrail::schema::AuthRequest {
    request("deploy_to_production", 0.8, json!({"branch": format!("release-{number}")}))
}
