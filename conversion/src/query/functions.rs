//! Test that calls every function of the engine once: a call that can be planned must also run after encoding and
//! decoding.

use super::Query;
use super::travel::EXECUTOR;
use crate::codec::MillworkCodec;
use crate::options::ConversionOptions;
use crate::plan::plan_attempt;
use crate::plan::tests::{manifest_of, surveyed};
use crate::report::TaskReport;
use crate::sizing::Capacity;
use crate::survey::Survey;
use crate::table::ReadManifest;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::TryStreamExt;
use millwork_manifest::FailureClass;
use millwork_storage::{Location, Staging};
use std::path::Path;
use std::sync::Arc;

const LINES: &str = "{\"a\":\"ab\",\"i\":1,\"t\":\"2025-01-02T03:04:05\",\"f\":0.5,\"j\":2}\n{\"b\":1}\n";

/// Arguments of each type, built from columns, so that no call is evaluated at planning time.
const KINDS: [&str; 12] = [
    "a",
    "CAST(i AS BIGINT)",
    "CAST(f AS DOUBLE)",
    "CAST(t AS TIMESTAMP)",
    "CAST(t AS DATE)",
    "make_array(a, 'x')",
    "make_array(CAST(i AS BIGINT), 2)",
    "make_array(CAST(f AS DOUBLE), 2.5)",
    "map(make_array('k'), make_array(a))",
    "struct(a)",
    "CAST(a AS BYTEA)",
    "a = 'ab'",
];

/// Calls of functions that need particular arguments.
const CALLS: &[(&str, &str)] = &[
    ("array_compact", "array_compact(make_array(a, NULL))"),
    ("array_reverse", "array_reverse(make_array(a))"),
    ("arrays_zip", "arrays_zip(make_array(a), make_array(i))"),
    ("arrow_cast", "arrow_cast(a, 'LargeUtf8')"),
    ("arrow_field", "arrow_field(a)"),
    ("arrow_try_cast", "arrow_try_cast(a, 'Int64')"),
    ("date_bin", "date_bin(INTERVAL '1 hour', CAST(t AS TIMESTAMP), TIMESTAMP '2025-01-01')"),
    ("date_part", "date_part('hour', CAST(t AS TIMESTAMP))"),
    ("date_trunc", "date_trunc('hour', CAST(t AS TIMESTAMP))"),
    ("decode", "decode(encode(a, 'hex'), 'hex')"),
    ("digest", "digest(a, 'sha256')"),
    ("encode", "encode(a, 'hex')"),
    ("find_in_set", "find_in_set(a, 'ab,c')"),
    ("get_field", "get_field(struct(a), 'c0')"),
    ("make_date", "make_date(2025, CAST(i AS INT), 1)"),
    ("make_time", "make_time(CAST(i AS INT), 2, 3)"),
    ("named_struct", "named_struct('k', a)"),
    ("overlay", "overlay(a PLACING 'x' FROM 1 FOR 1)"),
    ("position", "position('a' IN a)"),
    ("regexp_replace", "regexp_replace(a, 'a', 'x')"),
    ("split_part", "split_part(a, ',', 1)"),
    ("substring_index", "substring_index(a, ',', 1)"),
    ("to_char", "to_char(CAST(t AS TIMESTAMP), '%Y')"),
    ("to_local_time", "to_local_time(CAST(t AS TIMESTAMP) AT TIME ZONE 'UTC')"),
    ("to_time", "to_time('03:04:05' || substr(a, 9))"),
    ("with_metadata", "with_metadata(a, 'k', 'v')"),
    ("array_replace_n", "array_replace_n(make_array(a), 'ab', 'x', 1)"),
    ("translate", "translate(a, 'a', 'x')"),
];

/// Functions that no user's call reaches: for unions, which no input produces, and those that only the planner uses.
const NOT_CALLED: &[&str] = &["union_extract", "union_tag"];

/// Calls to try for a function, the likeliest first.
fn calls(name: &str) -> Vec<String> {
    let mut calls: Vec<String> =
        CALLS.iter().filter(|(known, _)| *known == name).map(|(_, call)| (*call).to_owned()).collect();
    let quoted = format!("\"{name}\"");
    calls.extend(KINDS.iter().map(|kind| format!("{quoted}({kind})")));
    calls.extend(
        KINDS
            .iter()
            .flat_map(|one| KINDS.iter().map(move |two| (one, two)))
            .map(|(one, two)| format!("{quoted}({one}, {two})")),
    );
    for more in
        ["a, a, a", "a, CAST(i AS BIGINT), a", "a, CAST(i AS BIGINT), CAST(j AS BIGINT)", "a, a, CAST(i AS BIGINT)"]
    {
        calls.push(format!("{quoted}({more})"));
    }
    for list in ["make_array(a, 'x')", "make_array(CAST(i AS BIGINT), 2)"] {
        for more in ["CAST(i AS BIGINT), 1", "a, a", "a, a, 1", "a, 1", "CAST(i AS BIGINT), CAST(i AS BIGINT)"] {
            calls.push(format!("{quoted}({list}, {more})"));
        }
    }
    calls.extend(["CAST(i AS BIGINT), 2, 1", "CAST(f AS DOUBLE), 0.0, 1.0, 4"].map(|more| format!("{quoted}({more})")));
    calls.push(format!("{quoted}()"));
    calls.push(format!("concat(a, CAST({quoted}() AS VARCHAR))"));
    calls
}

async fn plans(call: &str) -> bool {
    let text = |name: &&str| Field::new(*name, DataType::Utf8, true);
    let fields: Vec<_> = ["a", "i", "t", "f", "j", "b"].iter().map(text).collect();
    let table = ReadManifest::of_sample(Arc::new(Schema::new(fields)), vec![]).unwrap();
    query(call).plan(table).await.is_ok()
}

fn query(call: &str) -> Query {
    Query::new("q.sql", format!("SELECT {call} AS x, a FROM read_manifest($manifest)"))
}

/// Runs a query as an executor does, after encoding and decoding its plan. Returns the failure that the task
/// reports, if any; an error if planning fails.
async fn run(
    root: &Path,
    survey: &Survey,
    call: &str,
) -> Result<Option<millwork_manifest::Failure>, millwork_manifest::Failure> {
    let manifest = manifest_of(root, 1);
    let staging = Staging::new(&Location::Local(root.join("out")), "test", 1, "{part}");
    let options = ConversionOptions { query: query(call), ..ConversionOptions::default() };
    options.storage.staging(staging.clone()).prepare().unwrap();
    let capacity = Capacity { executors: 1, slots: 1 };
    let planned = plan_attempt(&manifest, survey, survey.columns(), staging, &options, capacity).await?;
    let codec = MillworkCodec::default();
    let mut bytes = Vec::new();
    PhysicalPlanNode::try_from_physical_plan(planned.plan, &codec).unwrap().try_encode(&mut bytes).unwrap();
    let context = EXECUTOR.task_ctx();
    let plan = PhysicalPlanNode::try_decode(&bytes).unwrap().try_into_physical_plan(&context, &codec).unwrap();
    let batches: Vec<_> = plan.execute(0, context).unwrap().try_collect().await.unwrap();
    let reports = TaskReport::from_batch(&batches[0]).unwrap();
    Ok(TaskReport::from_bytes(&reports[0].to_bytes()).unwrap().failure)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_that_plans_runs_on_an_executor() {
    let root = tempfile::tempdir().unwrap();
    let survey = surveyed(root.path(), LINES).await;
    let state = super::context().state();
    let mut names: Vec<String> = state.scalar_functions().keys().cloned().collect();
    names.sort();
    assert!(names.len() > 200, "{}", names.len());
    let (mut unplanned, mut broken, mut ran) = (Vec::new(), Vec::new(), 0);
    for name in names.iter().filter(|name| !NOT_CALLED.contains(&name.as_str())) {
        let mut last = Some(name.clone());
        for call in calls(name) {
            if !plans(&call).await {
                continue;
            }
            let failure = match run(root.path(), &survey, &call).await {
                Ok(None) => {
                    (ran, last) = (ran + 1, None);
                    break;
                }
                Ok(Some(failure)) | Err(failure) => failure,
            };
            last = Some(format!("{call}: {failure}"));
            // The rows of this file may not be valid input for the function.
            if failure.class != FailureClass::Input {
                broken.extend(last.take());
                break;
            }
        }
        unplanned.extend(last);
    }
    assert!(broken.is_empty(), "{broken:#?}");
    // The remaining functions need arguments that are not tried here.
    assert!(ran * 10 > names.len() * 7, "{ran} ran, not these: {unplanned:#?}");
}

#[tokio::test]
async fn tables_of_functions_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let survey = surveyed(root.path(), LINES).await;
    let manifest = manifest_of(root.path(), 1);
    for name in ["generate_series", "range"] {
        let options = ConversionOptions {
            query: Query::new("q.sql", format!("SELECT * FROM {name}(1, 3)")),
            ..ConversionOptions::default()
        };
        let staging = Staging::new(&Location::Local(root.path().join("out")), "test", 1, "{part}");
        let capacity = Capacity { executors: 1, slots: 1 };
        let planned = plan_attempt(&manifest, &survey, survey.columns(), staging, &options, capacity);
        let failure = planned.await.err().unwrap();
        assert_eq!(failure.class, FailureClass::Input);
        assert!(
            failure.message.contains(name) && failure.message.contains("FROM read_manifest($manifest)"),
            "{failure}"
        );
    }
}
