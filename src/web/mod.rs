//! Health and metrics of a running bridge over HTTP, to be read and no more.
//!
//! `GET /health` says whether a person is needed, `GET /metrics` is what Prometheus scrapes.
//! There is no login, so the address is one of this host's own unless the configuration
//! says otherwise in so many words. A connection answers one question and is closed.

mod limits;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bridge::alarms::Alarms;
use crate::bridge::config::WebConfig;
use crate::bridge::live::Snapshot;
use crate::bridge::metrics;
use crate::schema::Timestamp;
use limits::{LimitedListener, Limits};

/// A snapshot older than this means that the bridge's loop stands still: a turn and the wait
/// after it take less than half.
pub const STALLED_AFTER: Duration = Duration::from_secs(120);
/// How often the recorder sorts what was recorded since into its buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stop waits for answers on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Upper bounds of the histograms' buckets, in seconds: from a write to a fast disk to a call's timeout.
const SECONDS_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(
        "web.listen is {0}, which others can reach, and there is no login; listen on 127.0.0.1, or set web.allow_remote"
    )]
    Remote(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot serve: {0}")]
    Serve(#[source] std::io::Error),
    #[error("cannot record metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// What the pages show.
#[derive(Clone)]
pub struct View {
    pub alarms: Alarms,
    /// What the bridge's loop says of itself, each turn anew. Its alarms are not looked at.
    pub snapshot: watch::Receiver<Snapshot>,
    pub metrics: PrometheusHandle,
}

/// Has the process record metrics, describes them, and answers with what [`View`] shows them by.
///
/// Once a process, before the bridge starts: what was recorded before is lost.
///
/// # Errors
/// [`WebError::Metrics`] at the second call.
pub fn record_metrics() -> Result<PrometheusHandle, WebError> {
    let handle = recorder()?.install_recorder()?;
    metrics::describe();
    Ok(handle)
}

fn recorder() -> Result<PrometheusBuilder, WebError> {
    Ok(PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?)
}

/// Listens where the configuration says; nowhere without an address.
///
/// # Errors
/// [`WebError::Remote`] for an address that is not a loopback one where the configuration does
/// not allow it; [`WebError::Bind`].
pub async fn bind(config: &WebConfig) -> Result<Option<TcpListener>, WebError> {
    let Some(address) = config.listen else { return Ok(None) };
    if !address.ip().to_canonical().is_loopback() && !config.allow_remote {
        return Err(WebError::Remote(address));
    }
    let listener = TcpListener::bind(address).await.map_err(|source| WebError::Bind { address, source })?;
    Ok(Some(listener))
}

/// Serves until the token is cancelled, then finishes the answers on their way.
///
/// # Errors
/// [`WebError::Serve`].
pub async fn serve(listener: TcpListener, view: View, stop: CancellationToken) -> Result<(), WebError> {
    serve_within(listener, view, stop, Limits::DEFAULT).await
}

async fn serve_within(
    listener: TcpListener,
    view: View,
    stop: CancellationToken,
    limits: Limits,
) -> Result<(), WebError> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(target: "guardrail::web", %address, "serving /health and /metrics");
    }
    let recorded = view.metrics.clone();
    let serving = axum::serve(LimitedListener::new(listener, limits), router(view))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    let stopped_for_long = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::pin!(serving, stopped_for_long);
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            served = &mut serving => return served.map_err(WebError::Serve),
            // What is left ends by its own lifetime.
            () = &mut stopped_for_long => return Ok(()),
            _ = upkeep.tick() => recorded.run_upkeep(),
        }
    }
}

fn router(view: View) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .fallback(nothing_here)
        .layer(middleware::map_response(finish))
        .with_state(view)
}

/// What `/health` says first; from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    /// An alarm is on.
    Alarm,
    /// The bridge's loop has stopped saying anything.
    Stalled,
}

#[derive(Serialize)]
struct Health {
    status: Status,
    #[serde(flatten)]
    snapshot: Snapshot,
}

async fn health(State(view): State<View>) -> Response {
    let gone = view.snapshot.has_changed().is_err();
    let snapshot = Snapshot { alarms: view.alarms.active(), ..view.snapshot.borrow().clone() };
    let alarm = if snapshot.alarms.is_empty() { Status::Ok } else { Status::Alarm };
    let pulse = if gone || is_stalled(snapshot.at, Timestamp::now()) { Status::Stalled } else { Status::Ok };
    let status = alarm.max(pulse);
    let code = match status {
        Status::Ok => StatusCode::OK,
        Status::Alarm | Status::Stalled => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Health { status, snapshot })).into_response()
}

/// A clock that was set back makes a snapshot of the future, which is no older for that.
fn is_stalled(at: Timestamp, now: Timestamp) -> bool {
    let age_ms = now.unix_ms().saturating_sub(at.unix_ms());
    u64::try_from(age_ms).is_ok_and(|age_ms| Duration::from_millis(age_ms) > STALLED_AFTER)
}

async fn metrics_text(State(view): State<View>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], view.metrics.render()).into_response()
}

async fn nothing_here() -> Response {
    let body = serde_json::json!({"error": "there is nothing here but /health and /metrics"});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// One question a connection, so that its limits are the question's.
async fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod web_tests;
