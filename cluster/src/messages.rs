//! Messages between a scheduler and an executor, in Protocol Buffers.
//!
//! All of them travel on one stream that the executor opens, so that it listens on no port.

use prost::bytes::Bytes;
use prost::{DecodeError, Message, Oneof};

/// Version of the messages. A scheduler and an executor with different ones do not work together.
pub const PROTOCOL: u32 = 1;

/// An empty message.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Nothing {}

/// A message of an executor.
#[derive(Clone, PartialEq, Message)]
pub struct ToScheduler {
    /// The content.
    #[prost(oneof = "FromExecutor", tags = "1, 2, 3, 4")]
    pub content: Option<FromExecutor>,
}

/// The content of an executor's message.
#[derive(Clone, PartialEq, Oneof)]
pub enum FromExecutor {
    /// The first message: who offers to work.
    #[prost(message, tag = "1")]
    Register(Register),
    /// A sign of life, sent at least every [`crate::ALIVE_INTERVAL`], with the progress of its tasks: an encoded [`Alive`], as
    /// [`Alive::decode_bounded`] reads it.
    #[prost(bytes = "bytes", tag = "2")]
    Alive(Bytes),
    /// The end of a task.
    #[prost(message, tag = "3")]
    Ended(Ended),
    /// The executor was told to stop: it finishes its tasks, and takes no more.
    #[prost(message, tag = "4")]
    Draining(Nothing),
}

/// A sign of life of an executor, and news of it. Before it told news, it had no content.
#[derive(Clone, PartialEq, Message)]
pub struct Alive {
    /// Progress of the tasks that the executor has.
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Progress>,
    /// Memory that its process has now, in bytes; 0 if it does not know.
    #[prost(uint64, tag = "2")]
    pub memory_bytes: u64,
}

/// Limit of the bytes of a sign of life, 256 KiB: news of 1,024 tasks, the most that an executor has, take about 150 KiB. As values in memory they
/// can take fifty times as much.
pub const MAX_ALIVE_BYTES: usize = 256 << 10;

impl Alive {
    /// Reads a sign of life of anybody's.
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
    /// The task, always there.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// Counts of it so far.
    #[prost(message, optional, tag = "2")]
    pub counts: Option<Counts>,
}

/// Counts of a task. Each only grows.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Counts {
    /// Stored bytes of input that it has read.
    #[prost(uint64, tag = "1")]
    pub read_bytes: u64,
    /// Lines that became rows.
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    /// Lines that were rejected.
    #[prost(uint64, tag = "3")]
    pub rejected: u64,
    /// Bytes of output that it has written.
    #[prost(uint64, tag = "4")]
    pub written_bytes: u64,
    /// Output files that it has begun.
    #[prost(uint64, tag = "5")]
    pub parts: u64,
    /// Time that it has computed, in microseconds.
    #[prost(uint64, tag = "6")]
    pub cpu_micros: u64,
    /// The most memory that its process had meanwhile, in bytes.
    #[prost(uint64, tag = "7")]
    pub peak_memory_bytes: u64,
    /// True once it has read all of its input, and only finishes its files.
    #[prost(bool, tag = "8")]
    pub is_finishing: bool,
}

/// An executor that offers to work.
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Name in logs and in the record of output files.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The number of tasks it runs at once.
    #[prost(uint32, tag = "2")]
    pub slots: u32,
    /// Version of the messages that it speaks, its [`PROTOCOL`].
    #[prost(uint32, tag = "3")]
    pub protocol: u32,
    /// Version of the executor's program.
    #[prost(string, tag = "4")]
    pub version: String,
    /// Limit of the memory of its process, in bytes; 0 if it has none, or does not know.
    #[prost(uint64, tag = "5")]
    pub memory_limit_bytes: u64,
    /// Name of the machine it runs on; empty if it does not know.
    #[prost(string, tag = "6")]
    pub machine: String,
    /// Name of the form in which it reads plans. A scheduler that writes them in another gives it no work.
    #[prost(string, tag = "7")]
    pub plan: String,
}

/// A message of the scheduler.
#[derive(Clone, PartialEq, Message)]
pub struct ToExecutor {
    /// The content.
    #[prost(oneof = "FromScheduler", tags = "1, 2, 3, 4")]
    pub content: Option<FromScheduler>,
}

/// The content of a scheduler's message.
#[derive(Clone, PartialEq, Oneof)]
pub enum FromScheduler {
    /// A sign of life, in answer to the executor's.
    #[prost(message, tag = "1")]
    Alive(Nothing),
    /// A task to run.
    #[prost(message, tag = "2")]
    Launch(Task),
    /// A task that nobody wants any more.
    #[prost(message, tag = "3")]
    Cancel(TaskKey),
    /// Nothing more is wanted of the executor.
    #[prost(message, tag = "4")]
    Release(Release),
}

/// The identity of a task within a scheduler's life.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct TaskKey {
    /// The engine's id of the job.
    #[prost(string, tag = "1")]
    pub job: String,
    /// The stage's number in the job.
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    /// The attempt at the stage.
    #[prost(uint32, tag = "3")]
    pub stage_attempt: u32,
    /// The task's number in the stage.
    #[prost(uint32, tag = "4")]
    pub task: u32,
}

/// A task to run: one partition of a stage.
#[derive(Clone, PartialEq, Message)]
pub struct Task {
    /// Identity of the task, always there.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// The attempt at the task.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// The physical plan, of this partition alone.
    #[prost(bytes = "vec", tag = "3")]
    pub plan: Vec<u8>,
    /// The session's settings.
    #[prost(message, repeated, tag = "4")]
    pub settings: Vec<Setting>,
    /// The session's id.
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
    /// The task, always there.
    #[prost(message, optional, tag = "1")]
    pub key: Option<TaskKey>,
    /// Moment it began, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub started_at_ms: u64,
    /// Moment it ended, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub ended_at_ms: u64,
    /// Outcome of the task.
    #[prost(oneof = "Outcome", tags = "4, 5")]
    pub outcome: Option<Outcome>,
    /// Counts of it at its end.
    #[prost(message, optional, tag = "6")]
    pub counts: Option<Counts>,
}

/// Outcome of a task.
#[derive(Clone, PartialEq, Oneof)]
pub enum Outcome {
    /// Report of the task, encoded. It may tell of a failure of data or storage.
    #[prost(bytes, tag = "4")]
    Report(Vec<u8>),
    /// A defect, in words.
    #[prost(string, tag = "5")]
    Defect(String),
}

/// An executor's dismissal.
#[derive(Clone, PartialEq, Message)]
pub struct Release {
    /// The reason, for its log.
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
        // Each of them takes two bytes here, and a hundred in memory.
        let FromExecutor::Alive(bytes) = FromExecutor::from(of(MAX_ALIVE_BYTES / 2)) else {
            panic!("it is another message")
        };
        assert!(Alive::decode_bounded(&bytes).unwrap_err().contains("262144, the limit"));
        assert!(Alive::decode_bounded(&Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_sign_of_life_is_a_message_within_a_message() {
        // An executor of a version before sends it so; the bytes are alike.
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
