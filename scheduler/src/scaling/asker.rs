//! Connections, as the service sees them.

use millwork_net::{Place, Slots};
use std::sync::Arc;

/// Limit of the streams of answers per connection: KEDA has one per scaled object.
const STREAMS_OF_ONE: usize = 16;

/// Connection that requests come by.
#[derive(Clone)]
pub(super) struct Asker {
    place: Arc<Place>,
    /// Slots for the streams of the connection.
    pub(super) streams: Slots<()>,
}

impl Asker {
    pub(super) fn new(place: Place) -> Self {
        Self { place: Arc::new(place), streams: Slots::new(STREAMS_OF_ONE, STREAMS_OF_ONE) }
    }

    /// Notes a request: the connection counts as quiet only from now on.
    pub(super) fn note_request(&self) {
        self.place.note_use();
    }
}
