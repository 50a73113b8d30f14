//! Depth of the manifest queue, as metrics for Prometheus.

use metrics::gauge;
use millwork_queue::Consumer;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval between queries; the counts of SQS lag by about a minute.
const LOOK: Duration = Duration::from_secs(60);

/// Queries the depth at intervals until `stop`. If the permission is missing, logs that once and continues without the
/// metric.
pub(super) async fn look_often(consumer: Arc<Consumer>, stop: CancellationToken) {
    let mut is_told = false;
    loop {
        match consumer.depth().await {
            Ok(depth) => {
                is_told = false;
                gauge!("millwork_queue_messages", "queue" => "manifests").set(depth.messages as f64);
                gauge!("millwork_dead_letters", "queue" => "manifests").set(depth.dead_letters as f64);
            }
            Err(error) if !std::mem::replace(&mut is_told, true) => {
                tracing::warn!(error = %format!("{error:#}"), "the messages of the queues are not counted");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
