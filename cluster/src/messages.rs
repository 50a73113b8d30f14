//! Messages between a scheduler and an executor, in Protocol Buffers.
//!
//! All messages use one stream, which the executor opens, so that it needs no port.

use prost::bytes::Bytes;
use prost::{DecodeError, Message, Oneof};

/// Protocol version. A scheduler and an executor with different versions refuse to work together.
pub const PROTOCOL: u32 = 1;

/// An empty message.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Nothing {}

/// A message from an executor.
#[derive(Clone, PartialEq, Message)]
pub struct ToScheduler {
    /// Content of the message.
    #[prost(oneof = "FromExecutor", tags = "1, 2, 3, 4")]
    pub content: Option<FromExecutor>,
}

/// Content of an executor's message.
#[derive(Clone, PartialEq, Oneof)]
pub enum FromExecutor {
    /// First message: registers the executor.
    #[prost(message, tag = "1")]
    Register(Register),
    /// Keep-alive with the progress of its tasks, sent at least every [`crate::ALIVE_INTERVAL`]: an encoded [`Alive`],
    /// decoded by [`Alive::decode_bounded`].
    #[prost(bytes = "bytes", tag = "2")]
    Alive(Bytes),
    /// The end of a task.
    #[prost(message, tag = "3")]
    Ended(Ended),
    /// Notice that the executor was told to stop: it finishes its tasks, and accepts no more.
    #[prost(message, tag = "4")]
    Draining(Nothing),
}

/// Content of an executor's keep-alive. Empty in earlier versions.
#[derive(Clone, PartialEq, Message)]
pub struct Alive {
    /// Progress of the executor's tasks.
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Progress>,
    /// Memory of its process, in bytes; 0 if unknown.
    #[prost(uint64, tag = "2")]
    pub memory_bytes: u64,
}

/// Limit of a keep-alive, 256 KiB: the progress of 1,024 tasks, the most that an executor has, takes about 150 KiB.
/// Decoded, it can take fifty times as much memory.
pub const MAX_ALIVE_BYTES: usize = 256 << 10;

impl Alive {
    /// Decodes a keep-alive from an untrusted sender.
    pub fn decode_bounded(bytes: &Bytes) -> Result<Self, String> {
        match bytes.len() {
            length if length > MAX_ALIVE_BYTES => {
                Err(format!("its sign of life has {length} bytes, more than {MAX_ALIVE_BYTES}, the limit"))
            }
            _ => Self::decode(bytes.clone()).map_err(|error: DecodeError| format!("its sign of life is none: {error}")),
        }
    }
}

impl From<Alive> for FromExecutor {
    fn from(alive: Alive) -> Self {
        Self::Alive(alive.encode_to_vec().into())
    }
}

/// Progress of a task.
#[derive(Clone, PartialEq, Message)]
pub struct Progress {
    /// Id of the task, always present.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// Counts so far.
    #[prost(message, optional, tag = "2")]
    pub counts: Option<Counts>,
}

/// Counts of a task, which never decrease.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Counts {
    /// Stored bytes of input read.
    #[prost(uint64, tag = "1")]
    pub read_bytes: u64,
    /// Lines that became rows.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    /// Lines that were rejected.
    #[prost(uint64, tag = "3")]
    pub rejected: u64,
    /// Bytes of output written.
    #[prost(uint64, tag = "4")]
    pub written_bytes: u64,
    /// Number of output files begun.
    #[prost(uint64, tag = "5")]
    pub parts: u64,
    /// CPU time, in microseconds.
    #[prost(uint64, tag = "6")]
    pub cpu_micros: u64,
    /// Peak memory of its process during the task, in bytes.
    #[prost(uint64, tag = "7")]
    pub peak_memory_bytes: u64,
    /// True once all input is read, and only output files are being finished.
    #[prost(bool, tag = "8")]
    pub is_finishing: bool,
}

/// Registration of an executor.
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Name in logs and in the record of output files.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number of tasks that it runs concurrently.
    #[prost(uint32, tag = "2")]
    pub slots: u32,
    /// Protocol version of the executor, [`PROTOCOL`].
    #[prost(uint32, tag = "3")]
    pub protocol: u32,
    /// Version of the executor's program.
    #[prost(string, tag = "4")]
    pub version: String,
    /// Memory limit of its process, in bytes; 0 if there is none, or it is unknown.
    #[prost(uint64, tag = "5")]
    pub memory_limit_bytes: u64,
    /// Name of its machine; empty if unknown.
    #[prost(string, tag = "6")]
    pub machine: String,
    /// Name of the plan format that it reads. A scheduler with another format refuses it.
    #[prost(string, tag = "7")]
    pub plan: String,
}

/// A message from the scheduler.
#[derive(Clone, PartialEq, Message)]
pub struct ToExecutor {
    /// Content of the message.
    #[prost(oneof = "FromScheduler", tags = "1, 2, 3, 4")]
    pub content: Option<FromScheduler>,
}

/// Content of a scheduler's message.
#[derive(Clone, PartialEq, Oneof)]
pub enum FromScheduler {
    /// Keep-alive, in answer to the executor's.
    #[prost(message, tag = "1")]
    Alive(Nothing),
    /// A task to run.
    #[prost(message, tag = "2")]
    Launch(Task),
    /// Id of a task to be cancelled.
    #[prost(message, tag = "3")]
    Cancel(TaskKey),
    /// Dismissal of the executor.
    #[prost(message, tag = "4")]
    Release(Release),
}

/// Id of a task, unique while the scheduler runs.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct TaskKey {
    /// Id of the engine's job.
    #[prost(string, tag = "1")]
    pub job: String,
    /// Number of the stage in the job.
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    /// Number of the attempt at the stage.
    #[prost(uint32, tag = "3")]
    pub stage_attempt: u32,
    /// Number of the task in the stage.
    #[prost(uint32, tag = "4")]
    pub task: u32,
}

/// A task to run: one partition of a stage.
#[derive(Clone, PartialEq, Message)]
pub struct Task {
    /// Id of the task, always present.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// Number of the attempt at the task.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Encoded physical plan, for this partition only.
    #[prost(bytes = "vec", tag = "3")]
    pub plan: Vec<u8>,
    /// Settings of the session.
    #[prost(message, repeated, tag = "4")]
    pub settings: Vec<Setting>,
    /// Id of the session.
    #[prost(string, tag = "5")]
    pub session: String,
}

/// A setting of a session.
#[derive(Clone, PartialEq, Message)]
pub struct Setting {
    /// Name of the setting.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value of the setting, if it has one.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// The end of a task.
#[derive(Clone, PartialEq, Message)]
pub struct Ended {
    /// Id of the task, always present.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// Start time, in Unix milliseconds.
    #[prost(uint64, tag = "2")]
    pub started_at_ms: u64,
    /// End time, in Unix milliseconds.
    #[prost(uint64, tag = "3")]
    pub ended_at_ms: u64,
    /// Result of the task.
    #[prost(oneof = "Outcome", tags = "4, 5")]
    pub outcome: Option<Outcome>,
    /// Final counts.
    #[prost(message, optional, tag = "6")]
    pub counts: Option<Counts>,
}

/// Result of a task.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    /// Encoded report of the task, which may contain a failure of data or storage.
    #[prost(bytes, tag = "4")]
    Report(Vec<u8>),
    /// Description of a defect.
    #[prost(string, tag = "5")]
    Defect(String),
}

/// Dismissal of an executor.
#[derive(Clone, PartialEq, Message)]
pub struct Release {
    /// Reason, for the executor's log.
    #[prost(string, tag = "1")]
    pub reason: String,
}

impl From<FromExecutor> for ToScheduler {
    fn from(content: FromExecutor) -> Self {
        Self { content: Some(content) }
    }
}

impl From<FromScheduler> for ToExecutor {
    fn from(content: FromScheduler) -> Self {
        Self { content: Some(content) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_read_up_to_its_limit() {
        let of = |tasks| Alive { tasks: vec![Progress::default(); tasks], memory_bytes: 7 };
        let FromExecutor::Alive(bytes) = FromExecutor::from(of(1024)) else { panic!("it is another message") };
        assert_eq!(Alive::decode_bounded(&bytes), Ok(of(1024)));
        // Each entry takes two bytes encoded, and a hundred in memory.
        let FromExecutor::Alive(bytes) = FromExecutor::from(of(MAX_ALIVE_BYTES / 2)) else {
            panic!("it is another message")
        };
        assert!(Alive::decode_bounded(&bytes).unwrap_err().contains("262144, the limit"));
        assert!(Alive::decode_bounded(&Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_sign_of_life_is_a_message_within_a_message() {
        // Message as sent by an executor of an earlier version; the encoding is the same.
        #[derive(Clone, PartialEq, Message)]
        struct Before {
            #[prost(message, optional, tag = "2")]
            alive: Option<Alive>,
        }
        let alive = Alive { tasks: vec![Progress::default()], memory_bytes: 7 };
        let now: ToScheduler = FromExecutor::from(alive.clone()).into();
        assert_eq!(now.encode_to_vec(), Before { alive: Some(alive) }.encode_to_vec());
    }
}
