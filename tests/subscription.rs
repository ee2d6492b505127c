//! Blocks that an endpoint announces, by WebSocket and by IPC, and a bridge that polls all but never.

use guardrail::channel::ResponseKind;
use guardrail::schema::Decision;

use crate::support::{Anvil, World, deployment};

/// Approvers vote by transactions of their own: nothing but the chain tells the bridge of them.
async fn votes_on_chain_are_answered(world: &World, url: &str) {
    world.configure(&[("poll_interval_ms", "600000")]);
    let _bridge = world.bridge_with(&[("GUARDRAIL_RPC_URL", url)]);
    let log = world.path("state/logs/bridge.log");
    world.eventually("the endpoint announces its blocks", || {
        std::fs::read_to_string(&log).unwrap().contains("blocks are announced").then_some(())
    });
    let request = deployment();
    world.channel().publish_request(&request).unwrap();
    world.pending_id(&request.request_id);
    for account in ["1", "2"] {
        world.ok(&["approve", request.request_id.as_str(), "--dev-account", account, "--on-chain"]);
    }
    let response = world.response(&request.request_id, ResponseKind::Decision).await;
    assert_eq!(response.decision, Decision::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_web_socket() {
    let world = World::new();
    let url = world.anvil.url.replacen("http", "ws", 1);
    votes_on_chain_are_answered(&world, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_ipc() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("anvil.ipc");
    let world = World::on(Anvil::start_with(&["--ipc", socket.to_str().unwrap()]));
    votes_on_chain_are_answered(&world, socket.to_str().unwrap()).await;
}
