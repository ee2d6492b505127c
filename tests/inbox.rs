//! What the channel holds in bad company: votes in a row, names and files that nobody meant, modes, locks.

use std::os::unix::fs::PermissionsExt;

use fs2::FileExt;
use guardrail::channel::{QUARANTINE_FILES_MAX, ResponseKind};
use guardrail::evidence::{DenialKind, VerifiedDecision};
use guardrail::schema::Timestamp;

use crate::support::{World, deployment, dev};

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_who_approved_can_still_deny() {
    let world = World::new();
    let _bridge = world.bridge();
    let verifier = world.verifier().await;
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    let id = request.request_id.as_str();
    world.ok(&["approve", id, "--dev-account", "1"]);
    world.eventually("the approval is journalled", || {
        let rows: serde_json::Value = serde_json::from_str(&world.ok(&["pending", "--json"])).unwrap();
        (rows[0]["votes"] == serde_json::json!([{"approver": dev(1).address(), "approve": true}])).then_some(())
    });
    world.ok(&["deny", id, "--reason", "changed my mind", "--dev-account", "1"]);
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    let decision = verifier.verify_decision(&request, &response, Timestamp::now()).unwrap();
    let VerifiedDecision::Denied(denial) = decision else { panic!("{decision:?}") };
    assert_eq!((denial.kind, denial.reason.as_str()), (DenialKind::Denied, "changed my mind"));
    assert_eq!(world.quarantined(), []);
}

#[test]
fn long_names_directories_and_reasons_of_others_keep_nothing_out() {
    let world = World::new();
    let mut bridge = world.bridge();
    bridge.kill();
    let requests = world.path("channel/requests");
    std::fs::write(requests.join(format!("{}.json", "n".repeat(240))), b"{}").unwrap();
    std::fs::write(requests.join("mine.reason.json"), b"{}").unwrap();
    std::fs::create_dir(requests.join("0-directory")).unwrap();
    let good = deployment();
    world.channel().publish_request(&good).unwrap();
    let _bridge = world.bridge();
    world.pending_id(&good.request_id);
    let files: Vec<String> = world.quarantined().into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, ["0-directory".to_owned(), "mine.reason.json".to_owned(), format!("{}.json", "n".repeat(240))]);
    assert_eq!(std::fs::read_dir(&requests).unwrap().count(), 0);
}

#[test]
fn quarantine_has_a_limit_and_what_came_first_goes() {
    let world = World::new();
    let mut bridge = world.bridge();
    bridge.kill();
    let requests = world.path("channel/requests");
    std::fs::create_dir(requests.join("a-directory")).unwrap();
    for number in 0..QUARANTINE_FILES_MAX + 20 {
        std::fs::write(requests.join(format!("bad-{number:05}.reason.json")), b"{").unwrap();
    }
    let good = deployment();
    world.channel().publish_request(&good).unwrap();
    let _bridge = world.bridge();
    world.pending_id(&good.request_id);
    world.eventually("the quarantine is short", || {
        let count = std::fs::read_dir(world.path("channel/quarantine")).unwrap().count();
        (count == 2 * QUARANTINE_FILES_MAX).then_some(())
    });
    assert!(!world.path("channel/quarantine/a-directory").exists(), "the first to come is the first to go");
}

#[test]
fn a_group_shares_the_channel_and_whoever_comes_later_follows() {
    let world = World::new();
    let root = world.path("channel");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut bridge = world.bridge();
    for dir in [root.clone(), root.join("requests"), root.join("quarantine")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    bridge.kill();
    let _bridge = world.bridge_with(&[("GUARDRAIL_BRIDGE__CHANNEL__GROUP", "true")]);
    for dir in [root.clone(), root.join("requests"), root.join("responses")] {
        assert_eq!(mode(&dir), 0o2770, "{}", dir.display());
    }
    assert_eq!(mode(&root.join(".bridge.lock")), 0o660);
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    let claimed = world.channel().claimed_request_path(&request.request_id);
    world.eventually("it is claimed", || claimed.exists().then_some(()));
    assert_eq!(mode(&claimed), 0o660);
}

#[test]
fn a_slot_is_not_read_while_its_writer_holds_the_lock() {
    let world = World::new();
    let _bridge = world.bridge();
    let root = world.path("channel");
    let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(root.join(".lock")).unwrap();
    lock.lock_exclusive().unwrap();
    let slotted = deployment();
    let whole = slotted.canonical().unwrap();
    let slot = root.join("auth_request.json");
    std::fs::write(&slot, &whole[..whole.len() / 2]).unwrap();
    // Another request goes through meanwhile, so the bridge has looked.
    let other = deployment();
    world.channel().publish_request(&other).unwrap();
    world.pending_id(&other.request_id);
    assert!(slot.exists(), "half a file was taken");
    std::fs::write(&slot, &whole).unwrap();
    FileExt::unlock(&lock).unwrap();
    world.pending_id(&slotted.request_id);
    assert_eq!(world.quarantined(), []);
}

#[test]
fn no_secret_is_in_a_log() {
    let world = World::new();
    // Everything there is to log, not only what is logged by default.
    let _bridge = world.bridge_with(&[("GUARDRAIL_LOG", "guardrail=trace")]);
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    world.ok(&["approve", request.request_id.as_str()]);
    let logs = world.path("state/logs");
    let text = world.eventually("the bridge has logged the approval", || {
        let text = std::fs::read_to_string(logs.join("bridge.log")).unwrap();
        text.contains("state=approved").then_some(text)
    });
    assert!(text.contains("file event"), "events of the channel are logged");
    for index in 0..10 {
        let key = alloy::hex::encode(dev(index).signer().credential().to_bytes());
        assert!(!text.contains(&key), "the key of account {index} is in the log");
    }
}
