//! `read_manifest($manifest)`: the files of a manifest as a table.

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

use crate::source::{NdjsonSource, scan_exec};
use millwork_ndjson::FileRange;

/// The table function, bound to the manifest of one attempt.
#[derive(Debug)]
pub(crate) struct ReadManifest {
    table: Arc<dyn TableProvider>,
    calls: std::sync::atomic::AtomicUsize,
}

impl ReadManifest {
    pub(crate) const NAME: &str = "read_manifest";

    /// Table over the files themselves, with a partition per group.
    pub(crate) fn of_files(source: NdjsonSource, groups: Vec<Vec<FileRange>>) -> Self {
        Self::new(Arc::new(ManifestTable { source, groups }))
    }

    /// Table over sampled rows, in place of the files.
    pub(crate) fn of_sample(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        Ok(Self::new(Arc::new(MemTable::try_new(schema, vec![batches])?)))
    }

    fn new(table: Arc<dyn TableProvider>) -> Self {
        Self { table, calls: 0.into() }
    }
}

impl TableFunctionImpl for ReadManifest {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let is_bound = matches!(args.exprs(), [Expr::Placeholder(placeholder)] if placeholder.id == "$manifest");
        if !is_bound {
            let message = "read_manifest takes one argument, $manifest: the manifest of the run";
            return Err(DataFusionError::Plan(message.to_owned()));
        }
        if self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            let message = "read_manifest($manifest) may be read once in a query: a row is written once";
            return Err(DataFusionError::Plan(message.to_owned()));
        }
        Ok(self.table.clone())
    }
}

struct ManifestTable {
    source: NdjsonSource,
    groups: Vec<Vec<FileRange>>,
}

impl std::fmt::Debug for ManifestTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManifestTable({})", self.source.rows().manifest_id)
    }
}

#[async_trait]
impl TableProvider for ManifestTable {
    fn schema(&self) -> SchemaRef {
        self.source.rows().full_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source = match projection {
            None => self.source.clone(),
            Some(indices) => {
                let schema = self.schema();
                let named = indices.iter().map(|i| (*i, schema.field(*i).name().clone())).collect();
                self.source.with_projected(named)?
            }
        };
        Ok(scan_exec(source, self.groups.clone()))
    }
}
