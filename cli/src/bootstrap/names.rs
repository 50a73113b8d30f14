//! Names of buckets, queues and tables.

use anyhow::ensure;
use millwork_tracking::TableNames;

/// Names of all resources, and the part of the input bucket that is read.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) input_bucket: String,
    pub(super) manifest_bucket: String,
    pub(super) output_bucket: String,
    pub(super) quarantine_bucket: String,
    pub(super) queue: String,
    pub(super) dead_letter_queue: String,
    pub(super) manifest_queue: String,
    pub(super) tables: TableNames,
    /// Key prefix of input; empty for the whole bucket.
    pub(super) input_prefix: String,
}

impl Names {
    pub(super) fn manifest_dead_letter_queue(&self) -> String {
        format!("{}-dead-letters", self.manifest_queue)
    }

    /// Refuses names that AWS would refuse halfway through, and those by which output would become input.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_buckets()?;
        self.check_queues()?;
        self.check_tables()?;
        self.check_input_prefix()
    }

    fn check_buckets(&self) -> anyhow::Result<()> {
        let buckets = [&self.input_bucket, &self.manifest_bucket, &self.output_bucket, &self.quarantine_bucket];
        for name in buckets {
            let fits = (3..=63).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
            let is_plain = name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'));
            let rule = "a bucket's name has 3 to 63 of a-z, 0-9, `-` and `.`, without s3:// and without a folder";
            ensure!(fits && is_plain, "`{name}` cannot be a bucket: {rule}");
        }
        ensure!(
            !buckets[1..].contains(&&self.input_bucket),
            "bucket `{}` is the input bucket and another one too: what is written there would be taken for input",
            self.input_bucket
        );
        Ok(())
    }

    fn check_queues(&self) -> anyhow::Result<()> {
        let mut queues = [&self.queue, &self.dead_letter_queue, &self.manifest_queue].map(String::as_str).to_vec();
        let manifest_dead_letters = self.manifest_dead_letter_queue();
        queues.push(&manifest_dead_letters);
        for (i, name) in queues.iter().enumerate() {
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            let rule = "a queue's name has 1 to 80 letters, digits, `-` and `_`; S3 sends to no FIFO queue";
            ensure!(is_plain && (1..=80).contains(&name.len()), "`{name}` cannot be a queue: {rule}");
            ensure!(!queues[..i].contains(name), "queue `{name}` cannot be two of the four queues");
        }
        Ok(())
    }

    fn check_tables(&self) -> anyhow::Result<()> {
        let TableNames { tracking, lock, metrics, runs } = &self.tables;
        for name in [tracking, lock, metrics, runs] {
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            let rule = "a table's name has 3 to 255 letters, digits, `-`, `_` and `.`";
            ensure!(is_plain && (3..=255).contains(&name.len()), "`{name}` cannot be a table: {rule}");
        }
        let shared = [tracking, lock].iter().any(|name| [metrics, runs].contains(name)) || metrics == runs;
        ensure!(!shared, "only files and locks can share a table: name the others differently");
        Ok(())
    }

    fn check_input_prefix(&self) -> anyhow::Result<()> {
        // S3 requires other characters in filters to be encoded, and displays them so.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
        ensure!(
            self.input_prefix.chars().all(is_plain) && !self.input_prefix.starts_with('/'),
            "`{}` cannot be the prefix of input: it has letters, digits, `/`, `-`, `_` and `.`, and no `/` at the start",
            self.input_prefix
        );
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn names() -> Names {
        let name = |end: &str| format!("acme-{end}");
        Names {
            input_bucket: name("input"),
            manifest_bucket: name("manifests"),
            output_bucket: name("output"),
            quarantine_bucket: name("quarantine"),
            queue: name("input"),
            dead_letter_queue: name("input-dead-letters"),
            manifest_queue: name("manifests"),
            tables: TableNames {
                tracking: name("files"),
                lock: name("files"),
                metrics: name("metrics"),
                runs: name("runs"),
            },
            input_prefix: String::new(),
        }
    }

    #[test]
    fn names_that_aws_refuses_are_refused_first() {
        for bad in ["s3://acme", "Acme", "ab", "acme/in", "-acme"] {
            assert!((Names { input_bucket: bad.to_owned(), ..names() }).check().is_err(), "{bad}");
        }
        for bad in ["", "acme.fifo", "acme-manifests", "acme-manifests-dead-letters"] {
            assert!((Names { queue: bad.to_owned(), ..names() }).check().is_err(), "{bad}");
        }
        for bad in ["/in", "a b/", "a=1/"] {
            assert!((Names { input_prefix: bad.to_owned(), ..names() }).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_files_and_locks_share_a_table() {
        assert!(names().check().is_ok());
        let runs = |runs: &str| TableNames { runs: runs.to_owned(), ..names().tables };
        for bad in ["acme-files", "acme-metrics", "x"] {
            assert!((Names { tables: runs(bad), ..names() }).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn output_is_never_input() {
        let looping = Names { output_bucket: "acme-input".to_owned(), ..names() };
        assert!(looping.check().unwrap_err().to_string().contains("taken for input"));
    }
}
