//! /healthz, /readyz and /metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the probes answer with. Only the host's own needs count: a broken plugin never makes it unready.
pub(crate) trait Health: Send + Sync {
    /// `Ok` when the host can work, else what it waits for.
    fn ready(&self) -> Result<(), String>;
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    health: Arc<dyn Health>,
    registry: Arc<Registry>,
}

/// Serves until `shutdown`; returns the bound address through `bound`.
pub(crate) async fn serve(
    listen: SocketAddr,
    health: Arc<dyn Health>,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {listen}: {error}; choose another address with --listen")
    })?;
    tracing::info!(address = %listener.local_addr()?, "serving /healthz, /readyz and /metrics");
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shared { health, registry });
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}

/// 200 when the host can work, else 503 and what it waits for.
async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.health.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// The metrics, OpenMetrics text.
async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}
