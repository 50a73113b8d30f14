//! Limits of concurrent work for authenticated clients, so that none can block the others or the health checks.

use super::REQUEST_TIMEOUT;
use super::auth::peer;
use super::error::ApiError;
use crate::access::Caller;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use millwork_api::ErrorCode;
use millwork_net::{ConnectionLimits, Crowd, Slots, hold, network};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Divisor of the connection limit that gives the limit of event streams; the other half remains for requests and new
/// connections.
const STREAMS: usize = 2;
/// Divisor of the connection limit that gives the limit of streams of one address, or of one token.
const STREAMS_OF_ONE: usize = 8;
/// Divisor of the connection limit that gives the limit of requests in progress.
const REQUESTS: usize = 4;
/// Divisor of the connection limit that gives the limit of requests in progress from one address.
const REQUESTS_OF_ONE: usize = 8;
/// Divisor of the connection limit that gives the limit of unauthenticated requests in progress, such as sign-ins, and
/// that of their bodies being received.
const OF_STRANGERS: usize = 16;
/// Divisor of the connection limit that gives the limits of these from one address.
const OF_ONE_STRANGER: usize = 32;
/// Limit of a stranger's body, in bytes: a token, and a path to return to.
const MAX_STRANGER_BODY_BYTES: usize = 8 << 10;
/// Time limit for receiving a stranger's body: 3 s.
const STRANGER_BODY_TIME: Duration = Duration::from_secs(3);
/// Value of `Retry-After` for a refused request, in seconds.
const AGAIN_SECONDS: u64 = 1;
/// Value of `Retry-After` for a refused stream, in seconds: longer than for a request, since streams last.
const STREAM_AGAIN_SECONDS: u64 = 10;

/// Slots for requests and streams.
#[derive(Clone)]
pub(crate) struct Places {
    requests: Slots<IpAddr>,
    strangers: Slots<IpAddr>,
    /// Places for bodies of strangers that are being received. A newcomer always gets one, if necessary another's:
    /// half-sent sign-ins keep out nobody who sends all of his.
    awaited: Crowd,
    streams: Slots<IpAddr>,
    streams_of_tokens: Slots<Arc<str>>,
}

impl Places {
    /// Creates the slots. With 512 connections: 256 streams, 64 of an address or token; 128 requests, 64 of an address.
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let part = |of: usize| (limits.in_all / of).max(1);
        Self {
            requests: Slots::new(part(REQUESTS), part(REQUESTS_OF_ONE)),
            strangers: Slots::new(part(OF_STRANGERS), part(OF_ONE_STRANGER)),
            awaited: Crowd::new(part(OF_STRANGERS), part(OF_ONE_STRANGER)),
            streams: Slots::new(part(STREAMS), part(STREAMS_OF_ONE)),
            streams_of_tokens: Slots::new(part(STREAMS), part(STREAMS_OF_ONE)),
        }
    }

    /// Slots for unauthenticated requests, which are separate, so that they cannot block authenticated clients.
    pub(super) fn of_strangers(&self) -> Self {
        Self { requests: self.strangers.clone(), ..self.clone() }
    }
}

/// Receives the whole body of a stranger, within a time limit and to a place that can be taken away, before the request
/// takes a slot.
pub(super) async fn receive_body_of_stranger(State(places): State<Places>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (place, _) = places.awaited.enter(peer(&request));
    let (parts, body) = request.into_parts();
    let received = tokio::select! {
        received = tokio::time::timeout(STRANGER_BODY_TIME, to_bytes(body, MAX_STRANGER_BODY_BYTES)) => received,
        () = place.ended().cancelled() => {
            let busy = "too many bodies are being received: ask again";
            return ApiError::wait(Duration::from_secs(AGAIN_SECONDS), ErrorCode::Busy, busy).into_response();
        }
    };
    drop(place);
    match received {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(_)) => {
            let message =
                format!("the body has more than {MAX_STRANGER_BODY_BYTES} bytes, the limit here, or broke off");
            ApiError::new(ErrorCode::TooLarge, message).into_response()
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", STRANGER_BODY_TIME.as_secs());
            ApiError::new(ErrorCode::SlowBody, message).into_response()
        }
    }
}

/// Refuses a request while all slots are in use, and answers with a timeout if it takes too long.
pub(super) async fn limit_requests(State(places): State<Places>, request: Request, next: Next) -> Response {
    let Some(place) = places.requests.take(network(peer(&request))) else {
        let message = "too many requests are in work, in all or of this address: ask again";
        let refused = ApiError::new(ErrorCode::Busy, message);
        return refused.again_after(Duration::from_secs(AGAIN_SECONDS)).into_response();
    };
    let late = || {
        let message = format!("no answer within {} s; what was asked may have happened", REQUEST_TIMEOUT.as_secs());
        ApiError::new(ErrorCode::Timeout, message).into_response()
    };
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| late());
    hold(answer, place)
}

/// Refuses a stream while all slots are in use.
pub(super) async fn limit_streams(State(places): State<Places>, request: Request, next: Next) -> Response {
    let token = request.extensions().get::<Caller>().map_or_else(|| Arc::from(""), |caller| caller.id.clone());
    let place = places.streams.take(network(peer(&request)));
    let place = place.and_then(|place| Some((place, places.streams_of_tokens.take(token)?)));
    let Some(place) = place else {
        let message = "too many streams of events are open, in all, of this address or of this token: close some";
        return ApiError::wait(Duration::from_secs(STREAM_AGAIN_SECONDS), ErrorCode::TooManyStreams, message)
            .into_response();
    };
    hold(next.run(request).await, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_left_for_those_that_are_new() {
        for wanted in [16, 64, 128, 512] {
            let limits = ConnectionLimits::within(wanted, 20_000);
            let share = |parts: &[usize]| parts.iter().map(|part| (limits.in_all / part).max(1)).sum::<usize>();
            assert!(share(&[STREAMS, REQUESTS, OF_STRANGERS, OF_STRANGERS]) < limits.in_all, "{wanted}");
            let of_one = [STREAMS_OF_ONE, REQUESTS_OF_ONE, OF_ONE_STRANGER, OF_ONE_STRANGER];
            assert!(share(&of_one) < limits.of_one, "{wanted}");
        }
    }
}
