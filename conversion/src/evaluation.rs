//! Error messages for a query that fails on rows: the file, the line and the expression, never values. Values of rows
//! must not reach logs, states and answers, and DataFusion's own messages contain them.
//!
//! DataFusion's error does not say where it arose. The rows are therefore scanned again and taken through the same
//! steps, up to the first that fails.

use crate::failure::failure_within;
use crate::source::{NdjsonSource, as_scan};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{filter, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use millwork_manifest::{Failure, FailureClass};
use millwork_ndjson::FileRange;
use std::fmt;
use std::sync::Arc;

/// Limit of the text of an expression in a message, in bytes: names of columns are keys of the input, of up to 4 KiB.
const MAX_EXPRESSION_BYTES: usize = 1 << 10;

/// Error of a query on the rows of a morsel, with the values removed. Errors of reading and of resources are passed on
/// unchanged.
pub(crate) fn without_values(plan: &Arc<dyn ExecutionPlan>, morsel: usize, error: DataFusionError) -> DataFusionError {
    if failure_within(&error).is_some() {
        return error;
    }
    let (class, what) = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_) => return error,
        DataFusionError::ArrowError(error, _) => (FailureClass::Input, words_for(error)),
        DataFusionError::Execution(_) => (FailureClass::Input, "it does not take a value of that line"),
        _ => (FailureClass::Bug, "the engine cannot do it"),
    };
    let failure = match find(plan, morsel) {
        Some(Place { file, line: Some(line), expression }) => {
            let message = format!(
                "the query failed on `{file}`, line {line}: {expression}: {what}; values are not shown here: correct the line or the query"
            );
            Failure::new(class, message).of_file(file)
        }
        Some(Place { file, line: None, expression }) => {
            Failure::new(class, format!("the query failed on `{file}`: {expression}: {what}")).of_file(file)
        }
        None => Failure::new(class, format!("the query failed on the data: {what}")),
    };
    DataFusionError::External(Box::new(failure))
}

/// Description of an Arrow error, without the text of the error itself, which may hold values.
fn words_for(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            "the value is not of that type, for which TRY_CAST gives NULL"
        }
        ArrowError::DivideByZero => "division by zero",
        ArrowError::ArithmeticOverflow(_) => "the number is too large for its type",
        _ => "it does not take a value of that line",
    }
}

/// Place in the input of the first failure of a query, and the failing expression.
struct Place {
    file: String,
    line: Option<i64>,
    expression: String,
}

/// A step that rows pass through between the scan and the output.
enum Step<'a> {
    Filter(&'a FilterExec),
    Project(&'a ProjectionExec),
}

/// Finds the first failure among the rows of a morsel.
fn find(plan: &Arc<dyn ExecutionPlan>, morsel: usize) -> Option<Place> {
    let mut steps = Vec::new();
    let (source, ranges) = steps_down(plan, morsel, &mut steps)?;
    let source = source.with_lines().ok()?;
    let schema = source.schema();
    for range in ranges {
        let file = range.uri.to_string();
        for rows in source.scan(0, &[vec![range]]).ok()? {
            let batch = rows.ok()?.to_batch(&schema).ok()?;
            if let Err(Failed { line, expression }) = Lines::of(&batch)?.take_through(&steps) {
                return Some(Place { file, line, expression });
            }
        }
    }
    None
}

/// The steps between a scan and the plan above it, lowest first; `None` if there are steps that cannot be repeated
/// here, such as UNNEST.
fn steps_down<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    morsel: usize,
    steps: &mut Vec<Step<'a>>,
) -> Option<(&'a NdjsonSource, Vec<FileRange>)> {
    if let Some((source, mut groups)) = as_scan(plan) {
        return (morsel < groups.len()).then(|| (source, groups.swap_remove(morsel)));
    }
    let step = match (plan.downcast_ref::<FilterExec>(), plan.downcast_ref::<ProjectionExec>()) {
        (Some(filter), _) => Step::Filter(filter),
        (_, Some(projection)) => Step::Project(projection),
        _ => return None,
    };
    let below = steps_down(plan.children().first()?, morsel, steps)?;
    steps.push(step);
    Some(below)
}

/// A step that failed.
struct Failed {
    line: Option<i64>,
    expression: String,
}

/// Rows, with the line number of each.
struct Lines {
    rows: RecordBatch,
    lines: ArrayRef,
}

impl Lines {
    /// Splits a batch whose last column holds the line numbers.
    fn of(batch: &RecordBatch) -> Option<Self> {
        let last = batch.num_columns().checked_sub(1)?;
        let rows = batch.project(&(0..last).collect::<Vec<_>>()).ok()?;
        Some(Self { rows, lines: batch.column(last).clone() })
    }

    fn take_through(mut self, steps: &[Step<'_>]) -> std::result::Result<(), Failed> {
        for step in steps {
            let next = match step {
                Step::Filter(filter) => self.filtered(filter),
                Step::Project(projection) => self.projected(projection),
            };
            self = next?;
        }
        Ok(())
    }

    fn filtered(&self, by: &FilterExec) -> std::result::Result<Self, Failed> {
        let mask = self.evaluate(by.predicate(), None)?;
        let kept = || {
            let mask: &BooleanArray = mask.as_boolean_opt()?;
            let rows = match by.projection().as_deref() {
                Some(columns) => self.rows.project(columns).ok()?,
                None => self.rows.clone(),
            };
            Some(Self { rows: filter_record_batch(&rows, mask).ok()?, lines: filter(&self.lines, mask).ok()? })
        };
        kept().ok_or_else(|| Failed { line: None, expression: shown(by.predicate(), None) })
    }

    fn projected(&self, by: &ProjectionExec) -> std::result::Result<Self, Failed> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for projection in by.expr() {
            let column = self.evaluate(&projection.expr, Some(&projection.alias))?;
            fields.push(Field::new(&projection.alias, column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        let odd = |_| Failed { line: None, expression: "a projection".to_owned() };
        Ok(Self { rows: rows.map_err(odd)?, lines: self.lines.clone() })
    }

    /// Evaluates an expression, or finds the first row on which it fails, and the failing part of the expression.
    fn evaluate(
        &self,
        expression: &Arc<dyn PhysicalExpr>,
        column: Option<&str>,
    ) -> std::result::Result<ArrayRef, Failed> {
        if let Ok(values) = values(expression, &self.rows) {
            return Ok(values);
        }
        let mut rows = (0..self.rows.num_rows()).map(|row| (row, self.rows.slice(row, 1)));
        let Some((row, one)) = rows.find(|(_, one)| values(expression, one).is_err()) else {
            return Err(Failed { line: None, expression: shown(expression, column) });
        };
        let line = self.lines.as_primitive_opt::<Int64Type>().map(|lines| lines.value(row));
        Err(Failed { line, expression: shown(&innermost(expression, &one), column) })
    }
}

fn values(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expression.evaluate(rows)?.into_array(rows.num_rows())
}

/// The smallest part of an expression that fails on a row.
fn innermost(expression: &Arc<dyn PhysicalExpr>, row: &RecordBatch) -> Arc<dyn PhysicalExpr> {
    let failing = expression.children().into_iter().find(|part| values(part, row).is_err());
    failing.map_or_else(|| expression.clone(), |part| innermost(part, row))
}

/// An expression as SQL, up to a limit.
pub(crate) fn sql_of(expression: &dyn PhysicalExpr) -> String {
    struct Sql<'a>(&'a dyn PhysicalExpr);
    impl fmt::Display for Sql<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt_sql(f)
        }
    }
    short(Sql(expression).to_string())
}

fn short(mut text: String) -> String {
    if text.len() > MAX_EXPRESSION_BYTES {
        text.truncate(text.floor_char_boundary(MAX_EXPRESSION_BYTES));
        text.push('…');
    }
    text
}

/// An expression as SQL, and the column that it makes.
fn shown(expression: &Arc<dyn PhysicalExpr>, column: Option<&str>) -> String {
    let sql = sql_of(expression.as_ref());
    match column {
        Some(column) => format!("`{sql}` for the column `{}`", short(column.to_owned())),
        None => format!("`{sql}` in WHERE"),
    }
}
