//! A message of a queue.

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The queue's id for it.
    pub id: String,
    /// Body of the message.
    pub body: String,
}
