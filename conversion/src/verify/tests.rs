//! Tests with task files that were modified after they were reported, and reports that differ from their files.

use super::*;
use crate::host::tests::hosted;
use crate::judge::Verdict;
use crate::options::ConversionOptions;
use crate::plan::tests::{manifest_of, surveyed_files};
use crate::plan::{PlannedAttempt, plan_attempt};
use crate::query::Query;
use crate::sizing::Capacity;
use futures::TryStreamExt;
use millwork_storage::{Location, Staging, StagingArea};
use std::fs;
use std::path::{Path, PathBuf};

const LINES: &str = "{\"a\":1}\n{\"a\":2}\n\nno\n";

struct Attempt {
    root: tempfile::TempDir,
    survey: Survey,
    planned: PlannedAttempt,
    query: Query,
    staging: StagingArea,
    reports: Vec<TaskReport>,
}

/// Converts files with these contents in a new attempt.
async fn attempt(manifest_id: &str, files: &[&str], query: Query) -> Attempt {
    let root = tempfile::tempdir().unwrap();
    let survey = surveyed_files(root.path(), files).await;
    let options = ConversionOptions { query: query.clone(), ..Default::default() };
    let place = Staging::new(&Location::Local(root.path().join("out")), manifest_id, 1, "");
    let staging = options.storage.staging(place.clone());
    staging.prepare().unwrap();
    let manifest =
        millwork_manifest::Manifest { id: manifest_id.parse().unwrap(), ..manifest_of(root.path(), files.len()) };
    let capacity = Capacity { executors: 1, slots: 1 };
    let planned = plan_attempt(&manifest, &survey, survey.columns(), place, &options, capacity).await.unwrap();
    let mut reports = Vec::new();
    for partition in 0..planned.plan.properties().partitioning.partition_count() {
        let rows = planned.plan.execute(partition, hosted()).unwrap();
        for batch in rows.try_collect::<Vec<_>>().await.unwrap() {
            reports.extend(TaskReport::from_batch(&batch).unwrap());
        }
    }
    Attempt { root, survey, planned, query, staging, reports }
}

impl Attempt {
    async fn of_lines() -> Self {
        attempt("m", &[LINES], Query::default()).await
    }

    async fn judged(&self, reports: Vec<TaskReport>) -> Result<AttemptOutcome, Failure> {
        match self.planned.judge(&self.survey, &self.query, reports) {
            Verdict::Complete(outcome) => self.planned.verify(&self.survey, &self.staging, outcome).await,
            Verdict::Failed(failure) | Verdict::Unbalanced(failure) => Err(failure),
            Verdict::Replan(_) => panic!("planned again"),
        }
    }

    /// Applies a change to a report and returns the message that refuses it.
    async fn refused(&self, change: impl FnOnce(&mut TaskReport)) -> String {
        let mut reports = self.reports.clone();
        change(&mut reports[0]);
        let failure = self.judged(reports).await.unwrap_err();
        assert!(failure.class.can_pass(), "{failure}");
        failure.message
    }

    fn path(&self, file: &StagedFile) -> PathBuf {
        self.root.path().join(format!("out/_millwork/staging/{}/1/{}", self.planned.expected.manifest_id, file.name))
    }

    fn output(&self) -> PathBuf {
        self.path(&self.reports[0].parts[0].file)
    }

    fn rejects(&self) -> PathBuf {
        self.path(&self.reports[0].rejects[0])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_reports_hold() {
    let attempt = Attempt::of_lines().await;
    let outcome = attempt.judged(attempt.reports.clone()).await.unwrap();
    assert_eq!((outcome.ledger[0].rows, outcome.ledger[0].rejected, outcome.left_out), (2, 1, 0));
    let query = Query::new("q.sql", "SELECT upper(a) AS b FROM read_manifest($manifest) WHERE a = '2'");
    let attempt = self::attempt("m", &[LINES, "", LINES], query).await;
    let outcome = attempt.judged(attempt.reports.clone()).await.unwrap();
    assert_eq!((outcome.ledger[0].rows, outcome.left_out), (2, 2));
    let rows: u64 = outcome.reports.iter().flat_map(|report| &report.parts).map(|part| part.rows).sum();
    assert_eq!(rows, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_the_files() {
    let attempt = Attempt::of_lines().await;
    let rows = attempt.refused(|report| {
        report.parts[0].rows += 1;
        report.given_rows += 1;
        (report.ledger[0].rows, report.ledger[0].lines) = (3, 5);
    });
    assert!(rows.await.contains("its footer tells of 2 rows, 3 were reported"));
    let groups = attempt.refused(|report| report.parts[0].row_groups = 2).await;
    assert!(groups.contains("its footer tells of 1 row groups, 2 were reported"), "{groups}");
    let size = attempt.refused(|report| report.parts[0].file.size_bytes += 1).await;
    assert!(size.contains("were reported") && size.contains("bytes"), "{size}");
    let rejected = attempt.refused(|report| {
        (report.ledger[0].rejected, report.ledger[0].lines) = (2, 5);
    });
    assert!(rejected.await.contains("2 lines were rejected, 1 are in their files"));
    let size = attempt.refused(|report| report.rejects[0].size_bytes -= 1).await;
    assert!(size.contains("were reported"), "{size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_content_is_not_said_to_be_blank() {
    let attempt = Attempt::of_lines().await;
    let blank = |report: &mut TaskReport| {
        let end = LINES.len() as u64;
        report.ledger[0] = millwork_ndjson::RangeLedger { end, lines: 1, blank: 1, ..Default::default() };
        (report.parts, report.rejects, report.given_rows) = (Vec::new(), Vec::new(), 0);
    };
    let refused = attempt.refused(blank).await;
    assert!(refused.contains("is not blank, but has no rows there"), "{refused}");
    let attempt = self::attempt("m", &["\u{feff} \n\t\r\n", "{\"a\":1}", "\u{feff}"], Query::default()).await;
    attempt.judged(attempt.reports.clone()).await.unwrap();
}

/// Replaces a private file, runs `then`, and restores it.
fn replaced<T>(path: &Path, with: impl FnOnce(&Path), then: impl FnOnce() -> T) -> T {
    let aside = path.with_extension("aside");
    fs::rename(path, &aside).unwrap();
    with(&aside);
    let done = then();
    fs::remove_file(path).unwrap();
    fs::rename(aside, path).unwrap();
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_of_its_own_is_not_used() {
    let attempt = Attempt::of_lines().await;
    let runtime = tokio::runtime::Handle::current();
    let refused = || tokio::task::block_in_place(|| runtime.block_on(attempt.refused(|_| {})));
    for path in [attempt.output(), attempt.rejects()] {
        let link = replaced(&path, |aside| std::os::unix::fs::symlink(aside, &path).unwrap(), refused);
        assert!(link.contains("it is a symbolic link"), "{link}");
        let hard = replaced(&path, |aside| fs::hard_link(aside, &path).unwrap(), refused);
        assert!(hard.contains("it has 2 names"), "{hard}");
        let missing = replaced(&path, |_| fs::write(&path, "").unwrap(), refused);
        assert!(missing.contains("it has 0 bytes"), "{missing}");
    }
    // The output of another manifest, of the same size and shape.
    let other = self::attempt("n", &[LINES], Query::default()).await;
    let size_bytes = fs::metadata(other.output()).unwrap().len();
    let foreign = replaced(
        &attempt.output(),
        |_| {
            fs::copy(other.output(), attempt.output()).unwrap();
        },
        || {
            let refused = attempt.refused(|report| report.parts[0].file.size_bytes = size_bytes);
            tokio::task::block_in_place(|| runtime.block_on(refused))
        },
    );
    assert!(foreign.contains("it is not of manifest `m`"), "{foreign}");
    attempt.judged(attempt.reports.clone()).await.unwrap();
    assert!(fs::read(attempt.output()).unwrap().starts_with(b"PAR1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_lines_are_counted() {
    let attempt = Attempt::of_lines().await;
    let mut content = fs::read(attempt.rejects()).unwrap();
    content.extend_from_slice(b"{}\n");
    fs::write(attempt.rejects(), &content).unwrap();
    let longer = attempt.refused(|report| report.rejects[0].size_bytes += 3).await;
    assert!(longer.contains("1 lines were rejected, 2 are in their files"), "{longer}");
    content.truncate(content.len() - 1);
    fs::write(attempt.rejects(), &content).unwrap();
    let open = attempt.refused(|report| report.rejects[0].size_bytes += 2).await;
    assert!(open.contains("its last line has no end"), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_attempts_cannot_be_named() {
    let attempt = Attempt::of_lines().await;
    let name = "00000-67e55044-10b1-426f-9247-bb680e5fe0c8.part";
    let directory = attempt.output().parent().unwrap().to_owned();
    for elsewhere in ["../2", "../../n/1"] {
        fs::create_dir_all(directory.join(elsewhere)).unwrap();
        fs::copy(attempt.output(), directory.join(elsewhere).join(name)).unwrap();
        let report = |name: &str| {
            let text = String::from_utf8(attempt.reports[0].to_bytes()).unwrap();
            TaskReport::from_bytes(text.replace(&attempt.reports[0].parts[0].file.name.to_string(), name).as_bytes())
        };
        let error = report(&format!("{elsewhere}/{name}")).unwrap_err().to_string();
        assert!(error.contains("it names no private file"), "{error}");
        let refused = attempt.refused(|forged| *forged = report(name).unwrap()).await;
        assert!(refused.contains(name) && refused.contains("does not hold"), "{refused}");
        assert!(directory.join(elsewhere).join(name).exists());
    }
}
