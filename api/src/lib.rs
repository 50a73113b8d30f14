//! Types of all requests and responses of the HTTP API under `/api/v1`, with its errors.
//!
//! The scheduler creates responses, the commands and the web UI read them, and the OpenAPI document describes them.
//! Fields and codes are only ever added; clients ignore unknown ones. This crate depends on no HTTP server and no
//! store.

mod any_of;
mod audit;
mod cluster;
mod costs;
mod doctor;
mod error;
mod events;
mod files;
mod manifests;
mod numbers;
mod output;
mod page;
mod paged;
pub mod path;
mod plans;
mod priority;
mod progress;
mod rejected;
mod runs;
mod services;
mod system;
mod words;

pub use any_of::{AnyOf, Word};
pub use audit::{AuditEntry, AuditQuery, Via};
pub use cluster::{Converted, Executor, Executors, FilesInState, LeftExecutor, RunsInState, Stats};
pub use costs::{Cost, CostBy, CostQuery, Costs, DateCost, Prices, RunCost, Used};
pub use doctor::{Check, Examination, Verdict};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use events::{EventData, EventQuery, Lagged, Role, RunChange, Topic};
pub use files::{
    File, FileDetail, FileMoment, FilePreview, FileQuery, PreviewLine, PreviewQuery, QuarantineQuery, UriQuery,
};
pub use manifests::{
    FileLocation, ManifestDocument, ManifestFile, ManifestMetadata, ManifestReference, Submission, SubmitQuery,
};
pub use numbers::{
    DateFiles, DateNumbers, DateQuery, DateRefused, DateRuns, Dates, Forecast, Outlook, Point, Series, SeriesName,
    SeriesQuery,
};
pub use output::{LedgerEntry, LedgerTotals, OutputFile, RunOutput};
pub use page::{Limit, Page};
pub use paged::PagedQuery;
pub use plans::{
    Action, Change, ChangeResult, DeadLetterQuery, EventQueue, Plan, PlanCost, PlanRequest, PlanState, Refusal, Select,
    SubjectKind, WantedState,
};
pub use priority::{Priority, PriorityChange};
pub use progress::{
    AttemptWork, Phase, Requests, RunProgress, StageProgress, Step, StepTime, TaskProgress, TaskRecord, TaskState,
};
pub use rejected::{MendedLines, PutBack, RejectedLine, RejectedLines, RejectedQuery};
pub use runs::{Attempt, Failure, Moment, MomentKind, PartQuery, Run, RunDetail, RunFile, RunQuery, RunSummary};
pub use services::{
    BuilderInfo, Builders, Cluster, DeadLetter, DeadLetters, DeadLettersQuery, DraftInfo, Drafts, Held, LockInfo,
    Locks, QueueInfo, QueueKind, Queues,
};
pub use system::{Build, Config, Origin, SchedulerInfo, Schedulers, Setting};
