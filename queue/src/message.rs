//! Message of a queue.

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Id of the message in the queue.
    pub id: String,
    /// Body of the message.
    pub body: String,
}
