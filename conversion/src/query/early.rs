//! Checks of a query before there is a manifest, so that a mistake in it does not cost a run.

use super::Query;
use super::length::check_length;
use crate::table::ReadManifest;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, Visit, Visitor};
use futures::executor::block_on;
use millwork_manifest::Failure;
use millwork_ndjson::{METADATA_COLUMNS, metadata_fields};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

impl Query {
    /// Checks everything about the query that can be checked without input: that it parses, works row by row, and calls
    /// existing functions with accepted arguments. The query is planned over a table with each column that it names; a
    /// column that the input lacks is found with the first manifest. An `EXPLAIN` is checked as the query that it
    /// explains.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_default() {
            return Ok(());
        }
        if let Some(explained) = self.explained() {
            return explained.check();
        }
        // The length is checked before anything recurses through the expressions.
        check_length(&self.sql).map_err(|error| self.explain_failure(&error))?;
        // Planning does no I/O, so that blocking on it is safe.
        match block_on(self.try_plan(self.table_of_names().map_err(|error| self.explain_failure(&error))?)) {
            Ok(_) => Ok(()),
            // Names may resolve once the columns of the input are known.
            Err(error) if matches!(error.find_root(), DataFusionError::SchemaError(..)) => Ok(()),
            Err(error) => Err(self.explain_failure(&error)),
        }
    }

    /// Builds a table without rows that has each input column the query names.
    fn table_of_names(&self) -> Result<ReadManifest, DataFusionError> {
        let mut names = Names::default();
        for statement in DFParser::parse_sql(&self.sql)? {
            if let Statement::Statement(statement) = statement {
                let _: ControlFlow<()> = statement.visit(&mut names);
            }
        }
        let is_of_input = |name: &&String| !METADATA_COLUMNS.contains(&name.as_str());
        let of_input = names.read.difference(&names.given).filter(is_of_input);
        let of_input = of_input.map(|name| Field::new(name, DataType::Utf8, true));
        let fields: Vec<Field> = of_input.chain(metadata_fields()).collect();
        ReadManifest::of_sample(Arc::new(Schema::new(fields)), Vec::new())
    }
}

/// Names of columns in a query.
#[derive(Default)]
struct Names {
    /// Names that expressions read.
    read: BTreeSet<String>,
    /// Names that the query gives to what it computes.
    given: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(ident) => self.read.insert(name(ident)),
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| self.read.insert(name(ident))),
            _ => false,
        };
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let given = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(name(alias)),
            _ => None,
        });
        self.given.extend(given);
        ControlFlow::Continue(())
    }
}

/// Column name of an identifier: SQL folds unquoted identifiers to lower case.
fn name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found_without_an_input() {
        for (sql, word) in [
            ("CHOOSE nonsense FROM", "CHOOSE"),
            ("SELECT * FROM read_manifest($manifest) ORDER BY a", "ORDER BY"),
            ("SELECT nosuchfunction(a) FROM read_manifest($manifest)", "nosuchfunction"),
            ("EXPLAIN SELECT a FROM read_manifest($manifest) LIMIT 1", "LIMIT"),
            ("SELECT a FROM other", "other"),
            ("", "one SELECT"),
        ] {
            let failure = Query::new("q.sql", sql).check().unwrap_err();
            assert!(failure.message.contains(word), "{sql}: {failure}");
        }
    }

    #[test]
    fn queries_that_fit_some_input_are_no_mistakes() {
        for sql in [
            "SELECT * FROM read_manifest($manifest)",
            "EXPLAIN SELECT a FROM read_manifest($manifest)",
            "SELECT a, \"B c\", upper(t.d) AS a2 FROM read_manifest($manifest) t WHERE \"E\" = 'x' AND f IS NOT NULL",
            "SELECT * FROM (SELECT *, upper(a) AS u FROM read_manifest($manifest)) WHERE u IS NOT NULL",
            "WITH t AS (SELECT a AS a, upper(b) AS c FROM read_manifest($manifest)) SELECT a, c FROM t",
            "SELECT * EXCLUDE (a), sha256(a) AS h FROM read_manifest($manifest) WHERE CAST(n AS BIGINT) > 3",
            "SELECT date_trunc('hour', _ingested_at) AS hour, _source_line + 1 AS line FROM read_manifest($manifest)",
            "SELECT * REPLACE (upper(a) AS a) FROM read_manifest($manifest)",
        ] {
            Query::new("q.sql", sql).check().unwrap();
        }
        Query::default().check().unwrap();
    }
}
