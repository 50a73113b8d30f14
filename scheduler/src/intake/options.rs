//! Sources of manifests: a queue, a directory or a folder of a bucket.

use clap::Args;
use millwork_queue::ConsumerOptions;

/// Sources of manifests besides the HTTP API.
#[derive(Args, Clone, Debug)]
pub struct IntakeOptions {
    /// Queue with the events of the manifest bucket: each manifest that is written there is run
    #[arg(long, env = "MANIFEST_QUEUE_URL", value_name = "URL")]
    pub manifest_queue_url: Option<String>,

    // Not DEAD_LETTER_QUEUE_URL: in the environment that bootstrap prints, that names the builder's queue.
    /// Queue for messages that can never be processed [default: that of the manifest queue's redrive policy]
    #[arg(long, env = "MANIFEST_DEAD_LETTER_QUEUE_URL", value_name = "URL", requires = "manifest_queue_url")]
    pub dead_letter_queue_url: Option<String>,

    /// Time that a message stays hidden while it is handled; extended while that goes on
    #[arg(long, env = "VISIBILITY_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=43_200))]
    pub visibility_timeout_seconds: u32,

    /// Time that one receive waits for messages
    #[arg(long, env = "POLL_SECONDS", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub poll_seconds: u32,

    /// Directory, or s3://BUCKET/FOLDER, whose manifests are run: every *.json in it, now and later. They stay where they
    /// are; one that is changed is looked at again
    #[arg(long, env = "MILLWORK_MANIFEST_DIR", value_name = "PLACE")]
    pub manifest_dir: Option<String>,
}

impl IntakeOptions {
    /// URLs of the queue, if there is one, and of its dead-letter queue. An empty variable counts as unset.
    pub fn urls(&self) -> Option<(String, Option<String>)> {
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        Some((given(&self.manifest_queue_url)?, given(&self.dead_letter_queue_url)))
    }

    /// Options for reading the queue, if there is one.
    pub(super) fn queue(&self) -> Option<ConsumerOptions> {
        let (queue_url, dead_letter_queue_url) = self.urls()?;
        Some(ConsumerOptions {
            queue_url,
            dead_letter_queue_url,
            visibility_seconds: self.visibility_timeout_seconds,
            poll_seconds: self.poll_seconds,
        })
    }
}
