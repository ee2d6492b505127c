use super::*;
use crate::bridge::alarms::Alarm;
use crate::bridge::circuit::CircuitState;
use crate::bridge::live::EndpointStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A server on a port of its own, with what feeds it.
struct Server {
    address: SocketAddr,
    alarms: Alarms,
    snapshot: watch::Sender<Snapshot>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), WebError>>,
}

async fn start(limits: Limits) -> Server {
    let listener = bind(&listen("127.0.0.1:0")).await.unwrap().unwrap();
    let (snapshot, receiver) = watch::channel(Snapshot::starting());
    let recorder = recorder().unwrap().build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        metrics::describe();
        metrics::head_number(7);
        metrics::send(Duration::from_millis(30));
    });
    let alarms = Alarms::default();
    let stop = CancellationToken::new();
    let view = View { alarms: alarms.clone(), snapshot: receiver, metrics: recorder.handle() };
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve_within(listener, view, stop.clone(), limits));
    Server { address, alarms, snapshot, stop, serving }
}

fn listen(address: &str) -> WebConfig {
    WebConfig { listen: Some(address.parse().unwrap()), allow_remote: false }
}

/// Sends bytes, and reads all that comes until the connection is closed.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has seen enough closes before it was sent everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = exchange(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn health_of(server: &Server) -> (u16, Value) {
    let (code, head, body) = ask(server.address, "GET", "/health").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn health_says_what_is_wrong_and_what_to_do() {
    let server = start(Limits::DEFAULT).await;
    let endpoint = EndpointStatus::new("http://127.0.0.1:8545", CircuitState::Closed, 0, None);
    server.snapshot.send_modify(|snapshot| snapshot.endpoints = vec![endpoint]);
    let said = server.snapshot.borrow().clone();
    let mut expected = json!({
        "status": "ok", "pid": said.pid, "since": said.since, "at": said.at, "alarms": [],
        "endpoints": [{"url": "http://127.0.0.1:8545", "state": "closed", "failures": 0, "last_error": null}],
        "head": null, "in_flight": 0, "draining": false,
    });
    assert_eq!(health_of(&server).await, (200, expected.clone()));

    server.alarms.raise(Alarm::LowBalance, "0.05 coin");
    expected["status"] = json!("alarm");
    expected["alarms"] = json!([{
        "alarm": "low_balance", "text": Alarm::LowBalance.text(), "detail": "0.05 coin",
        "next_step": Alarm::LowBalance.next_step(), "since": server.alarms.active()[0].since,
    }]);
    assert_eq!(health_of(&server).await, (503, expected.clone()));

    server.alarms.clear(Alarm::LowBalance);
    expected["status"] = json!("ok");
    expected["alarms"] = json!([]);
    assert_eq!(health_of(&server).await, (200, expected));
}

#[tokio::test]
async fn a_loop_that_stands_still_is_not_healthy() {
    let server = start(Limits::DEFAULT).await;
    let old = Timestamp::now().unix_ms() - 121_000;
    server.snapshot.send_modify(|snapshot| snapshot.at = Timestamp::from_unix_ms(old));
    let (code, body) = health_of(&server).await;
    assert_eq!((code, &body["status"]), (503, &json!("stalled")));

    let server = start(Limits::DEFAULT).await;
    let Server { address, snapshot, .. } = server;
    drop(snapshot);
    let (code, _, body) = ask(address, "GET", "/health").await;
    assert_eq!(code, 503);
    assert!(body.contains("\"stalled\""), "{body}");
}

#[test]
fn a_clock_set_back_is_no_standstill() {
    let at = Timestamp::from_unix_ms(1_000_000);
    assert!(!is_stalled(at, Timestamp::from_unix_ms(0)));
    assert!(!is_stalled(at, Timestamp::from_unix_ms(1_120_000)));
    assert!(is_stalled(at, Timestamp::from_unix_ms(1_120_001)));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = start(Limits::DEFAULT).await;
    let (code, head, body) = ask(server.address, "GET", "/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    for line in [
        "# TYPE guardrail_head_number gauge",
        "guardrail_head_number 7",
        "guardrail_send_seconds_bucket{le=\"0.025\"} 0",
        "guardrail_send_seconds_bucket{le=\"0.05\"} 1",
        "guardrail_alarm{alarm=\"disk_full\"} 0",
    ] {
        assert!(body.lines().any(|l| l == line), "no line {line:?} in\n{body}");
    }
}

#[tokio::test]
async fn there_is_nothing_else() {
    let server = start(Limits::DEFAULT).await;
    for path in ["/", "/health/", "/metrics/x", "/../health"] {
        let (code, _, body) = ask(server.address, "GET", path).await;
        assert_eq!(
            (code, body.as_str()),
            (404, r#"{"error":"there is nothing here but /health and /metrics"}"#),
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(ask(server.address, method, "/health").await.0, 405, "{method}");
    }
    let (code, head, body) = ask(server.address, "HEAD", "/health").await;
    assert_eq!((code, body.as_str()), (200, ""));
    for expected in ["connection: close", "cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(head.contains(expected), "{head}");
    }
}

#[tokio::test]
async fn a_long_request_gets_no_answer() {
    let server = start(Limits::DEFAULT).await;
    let header = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(exchange(server.address, header.as_bytes()).await, "");
    // A body is not waited for: nobody looks at it.
    let body = "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    assert!(exchange(server.address, body.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_silent_are_hung_up_on_and_the_others_wait_their_turn() {
    let limits = Limits { connections_max: 1, lifetime: Duration::from_millis(300), ..Limits::DEFAULT };
    let server = start(limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET /hea").await.unwrap();
    let began = std::time::Instant::now();
    assert_eq!(ask(server.address, "GET", "/health").await.0, 200);
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8(rest).unwrap(), "");
}

#[tokio::test]
async fn a_stop_ends_it_even_with_somebody_on_the_line() {
    let server = start(Limits { lifetime: Duration::from_secs(600), ..Limits::DEFAULT }).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /hea").await.unwrap();
    assert_eq!(ask(server.address, "GET", "/health").await.0, 200);
    server.stop.cancel();
    tokio::time::timeout(STOP_TIMEOUT * 2, server.serving).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn only_this_host_is_listened_to_unless_the_configuration_says_so() {
    let nowhere = WebConfig { listen: None, allow_remote: true };
    assert!(bind(&nowhere).await.unwrap().is_none());
    for address in ["0.0.0.0:0", "192.0.2.1:8546", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let config = listen(address);
        assert!(
            matches!(bind(&config).await, Err(WebError::Remote(refused)) if Some(refused) == config.listen),
            "{address}"
        );
    }
    let allowed = WebConfig { allow_remote: true, ..listen("0.0.0.0:0") };
    assert!(bind(&allowed).await.unwrap().is_some());

    let taken = bind(&listen("127.0.0.1:0")).await.unwrap().unwrap();
    let address = taken.local_addr().unwrap();
    assert!(matches!(
        bind(&listen(&address.to_string())).await,
        Err(WebError::Bind { address: refused, .. }) if refused == address
    ));
}
