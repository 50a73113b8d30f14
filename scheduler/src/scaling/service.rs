//! External scaler for KEDA.
//!
//! KEDA itself starts the first executor and removes the last one, by the answer to `IsActive`. In between, the
//! horizontal pod autoscaler follows the metric with a target value of 1 per executor, so that the metric is the number
//! of executors.

use super::asker::Asker;
use super::messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use super::{Answers, Wanted, metrics};
use futures::StreamExt;
use futures::stream::BoxStream;
use millwork_net::Slot;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status};

#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_imports)]
pub(super) mod stubs {
    tonic::include_proto!("externalscaler.ExternalScaler");
}

/// Name of the only metric.
const METRIC: &str = "desired_executors";
/// Interval at which a stream repeats its last answer, to detect disconnected clients.
const REPEAT: Duration = Duration::from_secs(60);

pub(super) type Server = stubs::external_scaler_server::ExternalScalerServer<Scaler>;

/// The external scaler.
#[derive(Clone)]
pub(super) struct Scaler {
    answers: Answers,
}

impl Scaler {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers }
    }

    fn wanted(&self) -> Result<Wanted, Status> {
        fresh(&self.answers).ok_or_else(|| {
            Status::unavailable(
                "the store has not told how much there is to do within the last two minutes: see the scheduler's log",
            )
        })
    }
}

/// Counts a request of this kind, and returns the connection that it came by.
fn note<'a, T>(request: &'a Request<T>, kind: &'static str) -> Result<&'a Asker, Status> {
    metrics::asked(kind);
    let asker = request.extensions().get::<Asker>();
    let asker = asker.ok_or_else(|| Status::internal("a defect of Millwork's: the request came by no connection"))?;
    asker.note_request();
    Ok(asker)
}

/// The latest answer, if it is recent enough.
fn fresh(answers: &Answers) -> Option<Wanted> {
    answers.borrow().filter(Wanted::is_fresh)
}

/// A stream of `IsActive` answers, with the last one sent.
struct Told {
    answers: Answers,
    last: Option<bool>,
    repeat_at: Instant,
    _place: Slot<()>,
}

impl Told {
    /// Waits until an answer is to be sent; `None` at the end of the process.
    async fn next(&mut self) -> Option<bool> {
        loop {
            self.answers.mark_unchanged();
            let active = fresh(&self.answers).map(|wanted| wanted.executors > 0);
            let is_due = active.is_some() && (active != self.last || Instant::now() >= self.repeat_at);
            if is_due {
                (self.last, self.repeat_at) = (active, Instant::now() + REPEAT);
                return active;
            }
            // Repeated at the latest after the interval.
            if let Ok(Err(_)) = timeout(REPEAT, self.answers.changed()).await {
                return None;
            }
        }
    }
}

#[tonic::async_trait]
impl stubs::external_scaler_server::ExternalScaler for Scaler {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        note(&request, "IsActive")?;
        Ok(Response::new(IsActiveResponse { result: self.wanted()?.executors > 0 }))
    }

    type StreamIsActiveStream = BoxStream<'static, Result<IsActiveResponse, Status>>;

    /// Sends the answer at once, and whenever it changes. Sends nothing while it is not known.
    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let place = note(&request, "StreamIsActive")?.streams.take(());
        let place = place.ok_or_else(|| Status::resource_exhausted("16 streams are open: ask with IsActive"))?;
        let first =
            Told { answers: self.answers.clone(), last: None, repeat_at: Instant::now() + REPEAT, _place: place };
        let told = futures::stream::unfold(first, |mut told| async move {
            let result = told.next().await?;
            Some((Ok(IsActiveResponse { result }), told))
        });
        Ok(Response::new(told.boxed()))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        note(&request, "GetMetricSpec")?;
        let spec = MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        note(&request, "GetMetrics")?;
        let GetMetricsRequest { metric_name, .. } = request.into_inner();
        // KEDA uses the metric name, with or without an index as prefix.
        if !metric_name.is_empty() && !metric_name.ends_with(METRIC) {
            return Err(Status::not_found(format!("there is one metric, {METRIC}")));
        }
        let executors = self.wanted()?.executors;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: executors.into(),
            metric_value_float: executors.into(),
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }
}
