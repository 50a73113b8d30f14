//! The SQL of a conversion: Millwork's default, or a user's query.

mod early;
#[cfg(test)]
mod functions;
mod length;
mod plain;
mod travel;
mod words;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{SchemaError, Span};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use millwork_manifest::{Failure, FailureClass};
use std::sync::{Arc, LazyLock};

use crate::source::{NdjsonSource, scan_exec};
use crate::table::ReadManifest;
use length::check_length;
use millwork_ndjson::FileRange;
use travel::check_travels;

/// Limit of the engine's error message in bytes, before the place in the query is appended: for an unknown name, the
/// engine lists all columns.
const MAX_ERROR_BYTES: usize = 2 << 10;

/// A query over `read_manifest($manifest)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Name of the file that the query was read from, for error messages.
    origin: String,
    sql: String,
}

impl Default for Query {
    /// Query of `sql/convert.sql`.
    fn default() -> Self {
        Self { origin: "sql/convert.sql".to_owned(), sql: include_str!("../../sql/convert.sql").to_owned() }
    }
}

impl Query {
    /// Creates a user's query from its text and the name of its file.
    pub fn new(origin: impl Into<String>, sql: impl Into<String>) -> Self {
        let sql: String = sql.into();
        // Editors may put a byte order mark before the text.
        let sql = sql.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(sql);
        Self { origin: origin.into(), sql }
    }

    /// Tells whether this is the default query, which keeps every row unchanged.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The query that an `EXPLAIN` explains; `None` if this is not an `EXPLAIN`.
    pub fn explained(&self) -> Option<Self> {
        let mut text = self.sql.trim_start();
        // Comments may come first.
        while text.starts_with("--") {
            text = text.split_once('\n')?.1.trim_start();
        }
        let (word, rest) = text.split_at_checked(7)?;
        word.eq_ignore_ascii_case("explain").then(|| Self::new(self.origin.clone(), rest))
    }

    /// Plans the query over the files of a manifest. Returns the physical plan of the tasks, and the logical plan as
    /// text.
    pub(crate) async fn plan_files(
        &self,
        source: NdjsonSource,
        groups: Vec<Vec<FileRange>>,
    ) -> Result<(Arc<dyn ExecutionPlan>, String), Failure> {
        if self.is_default() {
            // The plan is the bare scan, since the default query changes nothing. Planning the SQL takes time quadratic
            // in the number of columns.
            return Ok((scan_exec(source, groups), format!("TableScan: {}", ReadManifest::NAME)));
        }
        let (context, logical) = self.plan(ReadManifest::of_files(source, groups)).await?;
        let physical = context.state().create_physical_plan(&logical).await;
        let physical = physical.and_then(|plan| check_travels(&plan).map(|()| plan));
        Ok((physical.map_err(|e| self.explain_failure(&e))?, logical.display_indent().to_string()))
    }

    /// Plans the query over a table, and checks that it works row by row.
    async fn plan(&self, table: ReadManifest) -> Result<(SessionContext, LogicalPlan), Failure> {
        self.try_plan(table).await.map_err(|error| self.explain_failure(&error))
    }

    async fn try_plan(&self, table: ReadManifest) -> Result<(SessionContext, LogicalPlan)> {
        let context = context();
        context.register_udtf(ReadManifest::NAME, Arc::new(table));
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        check_length(&self.sql)?;
        let plan = context.sql_with_options(&self.sql, options).await?.into_optimized_plan()?;
        check_row_by_row(&plan)?;
        check_columns(plan.schema().inner())?;
        Ok((context, plan))
    }

    /// Runs the query on a sample. Returns `None` if it fails on a row: such errors are left to the real scan, which
    /// reports them with their place.
    pub(crate) async fn run_on(
        &self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<Option<Vec<RecordBatch>>, Failure> {
        let table = ReadManifest::of_sample(schema, batches).map_err(|e| self.explain_failure(&e))?;
        let (context, plan) = self.plan(table).await?;
        let rows = async { context.execute_logical_plan(plan).await?.collect().await };
        Ok(rows.await.ok())
    }

    /// Failure for an error of the query, with its place in the query where that is known.
    pub(crate) fn explain_failure(&self, error: &DataFusionError) -> Failure {
        let told = error.strip_backtrace();
        let mut message = unknown_name(error).unwrap_or_else(|| plain::text_of(&told));
        if message.to_lowercase().contains("table function") {
            message.push_str("; a conversion reads FROM read_manifest($manifest) and nothing else");
        }
        let place = error.diagnostic().and_then(|d| d.span).map(start).or_else(|| place_in(&told));
        if message.len() > MAX_ERROR_BYTES {
            message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
            message.push('…');
        }
        let Some((line, column)) = place else {
            return Failure::new(FailureClass::Input, format_args!("{}: {message}", self.origin));
        };
        let failure = Failure::new(FailureClass::Input, format_args!("{}:{line}:{column}: {message}", self.origin));
        let source = self.sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let caret = " ".repeat(column.saturating_sub(1).min(source.len()));
        failure.with_excerpt(&[&format!("  {source}"), &format!("  {caret}^")])
    }
}

/// Message about a name that is not a column. Only the keys that the query names are known, so that no others are
/// listed.
fn unknown_name(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, .. } = &**error else { return None };
    Some(format!("no line of the manifest has a key `{}`, and no metadata column has that name", field.name()))
}

fn start(span: Span) -> (usize, usize) {
    (span.start.line as usize, span.start.column as usize)
}

/// Extracts the line and column that the SQL parser writes into its messages: `… at Line: 1, Column: 8`.
fn place_in(message: &str) -> Option<(usize, usize)> {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let (_, after_line) = message.rsplit_once("Line: ")?;
    let (_, after_column) = after_line.split_once("Column: ")?;
    Some((number(after_line)?, number(after_column)?))
}

fn context() -> SessionContext {
    SessionContext::new_with_state(SESSION.clone())
}

/// Session state that all plans start from: registering the hundreds of functions anew takes longer than planning.
static SESSION: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    // A task reads exactly what its file group says.
    options.optimizer.repartition_file_scans = false;
    options.optimizer.enable_round_robin_repartition = false;
    options.sql_parser.collect_spans = true;
    // A projection and a filter over one scan offer little to optimise, and most rules take time quadratic in the
    // number of columns. The rules kept are needed: some functions, such as `coalesce`, exist only to be simplified
    // into others.
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        // Table functions such as `generate_series` are removed: their rows do not come from the manifest.
        .with_table_function_list(Vec::new())
        .with_optimizer_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(OptimizeProjections::new())])
        .with_physical_optimizer_rules(vec![Arc::new(ProjectionPushdown::new())])
        .build()
});

/// Refuses queries whose rows depend on rows of other tasks.
fn check_row_by_row(plan: &LogicalPlan) -> Result<()> {
    let mut scans = 0;
    plan.apply_with_subqueries(|node| {
        let what = match node {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                return Ok(TreeNodeRecursion::Continue);
            }
            // A row would become several, so that the rows of a run could not be compared with the lines of its
            // input.
            LogicalPlan::Unnest(_) => {
                let message = "unnest makes several rows of one line; a conversion makes one or none: keep the list, as text or as it is";
                return Err(DataFusionError::Plan(message.to_owned()));
            }
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                scans += 1;
                return Ok(TreeNodeRecursion::Continue);
            }
            LogicalPlan::Sort(_) => "ORDER BY",
            LogicalPlan::Limit(_) | LogicalPlan::TableScan(_) => "LIMIT",
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => "GROUP BY, DISTINCT or an aggregate function",
            LogicalPlan::Window(_) => "a window function",
            LogicalPlan::Join(_) | LogicalPlan::Subquery(_) => "a join or a subquery",
            LogicalPlan::Union(_) => "UNION",
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => return Ok(TreeNodeRecursion::Continue),
            other => return Err(DataFusionError::Plan(format!("a conversion cannot run {}", other.display()))),
        };
        Err(DataFusionError::Plan(format!(
            "{what} needs rows of other tasks; a conversion works row by row: select, compute, rename, filter"
        )))
    })?;
    if scans == 1 {
        return Ok(());
    }
    Err(DataFusionError::Plan("a conversion reads FROM read_manifest($manifest)".to_owned()))
}

/// Refuses columns that Parquet cannot hold.
fn check_columns(schema: &SchemaRef) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(DataFusionError::Plan("the query gives no columns".to_owned()));
    }
    let unfit = schema.fields().iter().find(|field| {
        matches!(
            field.data_type(),
            DataType::Null | DataType::Interval(_) | DataType::Union(..) | DataType::RunEndEncoded(..)
        )
    });
    match unfit {
        None => Ok(()),
        Some(field) => Err(DataFusionError::Plan(format!(
            "column `{}` is of type {}, which Parquet does not hold: cast it",
            field.name(),
            field.data_type()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};

    async fn plan(sql: &str) -> Result<String, String> {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("B c", DataType::Utf8, true)]));
        let table = ReadManifest::of_sample(schema, vec![]).unwrap();
        let planned = Query::new("q.sql", sql).plan(table).await;
        planned.map(|(_, plan)| plan.display_indent().to_string()).map_err(|failure| failure.message)
    }

    #[tokio::test]
    async fn rows_can_be_computed_and_filtered() {
        for sql in [
            "SELECT * FROM read_manifest($manifest)",
            "SELECT * EXCLUDE (a), sha256(a) AS h FROM read_manifest($manifest) WHERE \"B c\" = 'x'",
            "WITH t AS (SELECT upper(a) AS u FROM read_manifest($manifest)) SELECT u FROM t WHERE u IS NOT NULL",
        ] {
            plan(sql).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_default_query_means_its_scan() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        let as_sql = Query::new("q.sql", Query::default().sql);
        let mut schemas = Vec::new();
        for query in [Query::default(), as_sql] {
            let (_, plan) = query.plan(ReadManifest::of_sample(schema.clone(), vec![]).unwrap()).await.unwrap();
            schemas.push((plan.schema().inner().clone(), plan.inputs().len()));
        }
        assert_eq!(schemas[0], schemas[1], "a scan, and nothing around it");
    }

    #[tokio::test]
    async fn what_needs_other_rows_is_refused() {
        for (sql, word) in [
            ("SELECT * FROM read_manifest($manifest) ORDER BY a", "ORDER BY"),
            ("SELECT * FROM read_manifest($manifest) LIMIT 3", "LIMIT"),
            ("SELECT a, count(*) FROM read_manifest($manifest) GROUP BY a", "GROUP BY"),
            ("SELECT DISTINCT a FROM read_manifest($manifest)", "DISTINCT"),
            ("SELECT row_number() OVER (ORDER BY a) FROM read_manifest($manifest)", "window"),
            ("SELECT a FROM read_manifest($manifest) UNION ALL SELECT a FROM read_manifest($manifest)", "once"),
            ("SELECT unnest(string_to_array(a, ',')) FROM read_manifest($manifest)", "several rows of one line"),
            ("SELECT 1 AS one", "FROM read_manifest"),
            ("SELECT * FROM read_manifest('x')", "$manifest"),
            ("SELECT NULL AS n FROM read_manifest($manifest)", "cast it"),
            ("CREATE TABLE t AS SELECT 1", "one SELECT"),
        ] {
            let error = plan(sql).await.unwrap_err();
            assert!(error.contains(word), "{sql}: {error}");
        }
    }

    #[tokio::test]
    async fn an_error_says_where() {
        let error = plan("SELECT a,\n  nope FROM read_manifest($manifest)").await.unwrap_err();
        assert!(
            error.starts_with("q.sql:2:3: no line of the manifest has a key `nope`,")
                && error.ends_with("\n    nope FROM read_manifest($manifest)\n    ^"),
            "{error}"
        );
        let error = plan("SELECT a\nFORM read_manifest($manifest) x y").await.unwrap_err();
        assert!(error.starts_with("q.sql:2:"), "{error}");
    }

    #[tokio::test]
    async fn an_expression_that_would_not_fit_on_the_stack_is_refused() {
        let any_of = |terms: usize| {
            let terms: Vec<String> = (0..terms).map(|term| format!("a = '{term}'")).collect();
            format!("\u{feff}SELECT a FROM read_manifest($manifest) WHERE {}", terms.join(" OR "))
        };
        let cases = (0..300).map(|case| format!("WHEN a = '{case}' THEN 'x'")).collect::<Vec<_>>().join(" ");
        for sql in [any_of(100), format!("SELECT CASE {cases} ELSE a END AS x FROM read_manifest($manifest)")] {
            plan(&sql).await.unwrap();
        }
        let sum = |term: &str| format!("SELECT {} AS x FROM read_manifest($manifest)", vec![term; 3000].join(" || "));
        let unions = vec!["SELECT a FROM read_manifest($manifest)"; 3000].join(" UNION ALL ");
        for (sql, words) in [
            (any_of(20_000), "IN (…)"),
            (sum("a"), "concat(…)"),
            (sum("CASE WHEN a = 'x' THEN a END"), "than 1000, the limit"),
            (unions, "more SELECT clauses and joins than 100"),
        ] {
            let error = plan(&sql).await.unwrap_err();
            assert!(error.contains(words), "{}", &error[..300.min(error.len())]);
        }
    }

    #[test]
    fn an_explain_is_seen_behind_comments() {
        let query = Query::new("q", "--a\r\n--ü\r\n\r\n--c\r\n EXPLAIN SELECT 2").explained().unwrap();
        assert_eq!(query.sql.trim(), "SELECT 2");
        assert!(Query::new("q", "-- EXPLAIN SELECT 1").explained().is_none());
        let query = Query::new("q", "-- what\n  Explain SELECT 1").explained().unwrap();
        assert_eq!(query.sql.trim(), "SELECT 1");
        assert!(Query::default().explained().is_none());
    }
}
