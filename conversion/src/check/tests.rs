//! Tests with forged reports of an attempt that has two tasks of one file each.

use super::*;
use crate::plan::tests::surveyed_files;
use crate::report::StagedPart;
use millwork_storage::StagedFile;
use proptest::prelude::*;
use serde_json::{Value, json};

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c";
const LINES: &str = "{\"a\":1}\n\nno\n";

/// Builds what the scheduler expects of an attempt, and reports that satisfy it.
async fn planned(root: &std::path::Path) -> (Survey, Expected, Vec<TaskReport>) {
    let survey = surveyed_files(root, &[LINES, LINES]).await;
    let groups: Vec<_> = survey.ranges.iter().map(|range| vec![range.clone()]).collect();
    let columns = vec!["a".to_owned()];
    let expected = Expected::of("m".parse().unwrap(), true, 1, (&survey, &groups)).of_columns(columns);
    let reports = vec![honest(0), honest(1)];
    (survey, expected, reports)
}

fn file(name: &str) -> StagedFile {
    serde_json::from_value(json!({"name": name, "size_bytes": 100})).unwrap()
}

fn honest(task: u32) -> TaskReport {
    let end = LINES.len() as u64;
    let part = StagedPart {
        file: file(&format!("{task:05}-{ID}{task}.part")),
        rows: 1,
        row_groups: 1,
        late_footer: Vec::new(),
    };
    TaskReport {
        executor: "e".to_owned(),
        first: Some((task, 0)),
        parts: vec![part],
        rejects: vec![file(&format!("{task:05}-{ID}{task}.rejected.ndjson"))],
        ledger: vec![RangeLedger { file: task, end, lines: 3, rows: 1, rejected: 1, blank: 1, ..Default::default() }],
        given_rows: 1,
        first_seen: vec![Some(Position { file: task, offset: 2 })],
        ..TaskReport::default()
    }
}

#[tokio::test]
async fn reports_of_the_plan_hold_and_forged_ones_do_not() {
    let root = tempfile::tempdir().unwrap();
    let (survey, expected, reports) = planned(root.path()).await;
    let check = |mut reports: Vec<TaskReport>| expected.check(&survey, &mut reports);
    check(reports.clone()).unwrap();
    check(vec![reports[1].clone(), reports[0].clone()]).unwrap();
    type Forge = fn(&mut Vec<TaskReport>);
    let forged: [(&str, Forge); 24] = [
        ("1 of 2 tasks reported nothing", |r| r.truncate(1)),
        ("task 0 was reported before", |r| r[1] = r[0].clone()),
        ("it is of no task of this attempt", |r| r[0].first = Some((0, 1))),
        ("it is of no task of this attempt", |r| r[0].first = None),
        ("would have number 00000", |r| r[0].parts[0].file = r[1].parts[0].file.clone()),
        ("would have number 00000", |r| r[0].rejects[0] = r[1].rejects[0].clone()),
        ("is no output of task 0", |r| r[0].parts[0].file = r[0].rejects[0].clone()),
        ("is no file of rejected lines of task 0", |r| r[0].rejects[0] = r[0].parts[0].file.clone()),
        ("would have number 00002", |r| {
            let part = r[0].parts[0].clone();
            r[0].parts.push(part);
        }),
        ("was reported before", |r| {
            let again = r[0].rejects[0].clone();
            r[0].rejects.push(again);
        }),
        ("no more ranges came where bytes 0 to 12 of file 0 was given", |r| r[0].ledger.clear()),
        ("bytes 0 to 12 of file 0 came where no more ranges was given", |r| {
            let again = r[0].ledger[0].clone();
            r[0].ledger.push(again);
        }),
        ("bytes 0 to 11 of file 0 came where bytes 0 to 12", |r| r[0].ledger[0].end = 11),
        ("bytes 0 to 12 of file 1 came where bytes 0 to 12 of file 0", |r| r[0].ledger[0].file = 1),
        ("it has 0 lines, where there are 12 bytes", |r| {
            r[0].ledger[0] = RangeLedger { end: 12, ..Default::default() };
            r[0].parts.clear();
            r[0].rejects.clear();
            r[0].given_rows = 0;
        }),
        ("it has 13 lines, where there are 12 bytes", |r| (r[0].ledger[0].lines, r[0].ledger[0].blank) = (13, 11)),
        ("it has 4 lines, but 1 rows + 1 rejected + 1 blank", |r| r[0].ledger[0].lines = 4),
        ("counts more than 1099511627776 lines", |r| r[0].ledger[0].rows = u64::MAX),
        ("1 rows were read, 2 written", |r| r[0].parts[0].rows = 2),
        ("more than 1099511627776 rows", |r| r[0].parts[0].rows = u64::MAX),
        ("1 lines became rows, the query was given 0", |r| r[0].given_rows = 0),
        ("1 lines were rejected, and 0 files hold them", |r| r[0].rejects.clear()),
        ("a key came at byte 2 of file 1", |r| r[0].first_seen[0] = Some(Position { file: 1, offset: 2 })),
        ("it tells of 2 input columns, 1 were planned", |r| r[0].first_seen.push(None)),
    ];
    for (why, forge) in forged {
        let mut forged = reports.clone();
        forge(&mut forged);
        let failure = check(forged).unwrap_err();
        assert!(failure.message.contains(why), "{why}: {failure}");
        assert!(failure.class.can_pass());
        let is_named = failure.message.starts_with("what executor `e` reported does not hold");
        assert!(is_named || why.starts_with("1 of 2"), "{failure}");
    }
}

#[tokio::test]
async fn what_is_said_of_late_columns_has_to_be_of_their_keys() {
    let root = tempfile::tempdir().unwrap();
    let (survey, expected, mut reports) = planned(root.path()).await;
    let footer = millwork_parquet_text::AddedColumns::of_nulls(vec!["x".to_owned()]);
    reports[0].parts[0].late_footer = footer.finish(&[1], &mut Nothing(4)).unwrap();
    let key = |key: &str| NewKey { key: key.to_owned(), at: Position { file: 0, offset: 3 } };
    reports[0].late_keys = vec![key("x")];
    expected.check(&survey, &mut reports.clone()).unwrap();
    reports[0].late_keys = vec![key("y")];
    let refused = |reports: &[TaskReport]| expected.check(&survey, &mut reports.to_vec()).unwrap_err().message;
    assert!(refused(&reports).contains("late columns whose keys were not reported"));
    reports[0].late_keys = vec![key("x")];
    reports[0].parts[0].row_groups = 2;
    assert!(refused(&reports).contains("tells of 1 row groups, 2 were reported"));
    reports[0].parts[0].late_footer = b"PAR1".repeat(3);
    assert!(refused(&reports).contains("what `00000-"));
}

/// Writer that counts the bytes of a file and discards them.
struct Nothing(u64);

impl millwork_parquet_text::Append for Nothing {
    fn offset(&self) -> u64 {
        self.0
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), datafusion::parquet::errors::ParquetError> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

#[tokio::test]
async fn a_failure_blames_no_file_of_others() {
    let root = tempfile::tempdir().unwrap();
    let (survey, expected, reports) = planned(root.path()).await;
    for (of, is_kept) in [(0, true), (1, false)] {
        let failure = Failure::new(FailureClass::Input, "broken").of_file(&survey.files[of].0);
        let mut failed = reports.clone();
        failed[0] = TaskReport { first: Some((0, 0)), failure: Some(failure), ..TaskReport::default() };
        expected.check(&survey, &mut failed).unwrap();
        assert_eq!(failed[0].failure.as_ref().unwrap().file.is_some(), is_kept);
        failed.truncate(1);
        expected.check(&survey, &mut failed).unwrap();
    }
}

#[tokio::test]
async fn lines_of_cut_files_are_known() {
    let root = tempfile::tempdir().unwrap();
    let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20));
    let survey = surveyed_files(root.path(), &[&(line.repeat(40) + "{}"), LINES]).await;
    assert_eq!(survey.ranges.len(), 4);
    let known = known_lines(&survey);
    let lines: Vec<_> = survey.ranges.iter().map(|range| known.get(&(range.file, range.start)).copied()).collect();
    assert_eq!(lines.iter().flatten().sum::<u64>(), 41);
    assert_eq!((lines.iter().filter(|lines| lines.is_some()).count(), lines[3]), (3, None));
    let group = [survey.ranges[..1].to_vec()];
    let expected = Expected::of("m".parse().unwrap(), true, 1, (&survey, &group));
    let range = &survey.ranges[0];
    let ledger = |lines| {
        let counts = RangeLedger { start: 0, end: range.end, lines, rows: lines, ..Default::default() };
        check_ledger(&expected.tasks[0], &[counts])
    };
    let known = lines[0].unwrap();
    ledger(known).unwrap();
    assert!(ledger(known - 1).unwrap_err().contains(&format!("where there are {known} lines")));
}

/// Replaces one leaf value of a report: number `at`, modulo their number, in depth-first order.
fn mutate(value: &mut Value, at: usize, with: &Value) {
    fn leaves<'a>(value: &'a mut Value, into: &mut Vec<&'a mut Value>) {
        let is_leaf = value.as_array().is_some_and(Vec::is_empty) || !value.is_array() && !value.is_object();
        if is_leaf {
            return into.push(value);
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, into)),
            Value::Object(fields) => fields.values_mut().for_each(|field| leaves(field, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    leaves(value, &mut found);
    let count = found.len();
    *found[at % count] = with.clone();
}

fn hostile() -> impl Strategy<Value = Value> {
    let names = format!("00001-{ID}1.part");
    let texts =
        ["/etc/passwd", "../../m2/1/x", "..", "", &format!("../{names}"), &names, &names.replace("0000", "+000")];
    let texts: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    prop_oneof![
        prop::sample::select(texts),
        any::<u64>().prop_map(|number| json!(number)),
        (0u64..20).prop_map(|number| json!(number)),
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(-1)),
        Just(json!(1e300)),
        ".{0,30}".prop_map(|text| json!(text)),
    ]
}

#[test]
fn changed_reports_never_panic_and_never_name_other_files() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (survey, expected, reports) = runtime.block_on(planned(root.path()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4000));
    let changes = prop::collection::vec((any::<usize>(), hostile()), 1..4);
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let names = |report: &TaskReport| -> Vec<String> {
        let files = report.parts.iter().map(|part| &part.file).chain(&report.rejects);
        files.map(|file| file.name.to_string()).collect()
    };
    let ran = runner.run(&(changes, bytes), |(changes, flips)| {
        let mut value = serde_json::to_value(&reports[0]).unwrap();
        changes.iter().for_each(|(at, with)| mutate(&mut value, *at, with));
        let mut text = value.to_string().into_bytes();
        let length = text.len();
        flips.iter().for_each(|(at, byte)| text[at.index(length)] = *byte);
        let Ok(report) = TaskReport::from_bytes(&text) else { return Ok(()) };
        let mut both = vec![report, reports[1].clone()];
        if expected.check(&survey, &mut both).is_ok() && both[0].failure.is_none() {
            prop_assert_eq!(both[0].parts.len() + both[0].rejects.len(), 2);
            for name in names(&both[0]) {
                prop_assert!(name.starts_with("00000-") && !name.contains('/'), "{}", name);
                prop_assert!(name.len() == names(&reports[0])[usize::from(name.ends_with("ndjson"))].len());
            }
            prop_assert_eq!(
                both[0].ledger[0].lines,
                both[0].ledger[0].rows + both[0].ledger[0].rejected + both[0].ledger[0].blank
            );
        }
        Ok(())
    });
    ran.unwrap();
}
