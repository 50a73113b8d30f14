//! Encoding in which a plan travels to the executors: Millwork's nodes are recognised by a prefix, all else is Ballista's.

use crate::sink::{ParquetPartsSink, SinkOptions};
use crate::source::{NdjsonSource, as_scan, scan_exec};
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use millwork_ndjson::{FileRange, RowSource};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Start of each encoded node of Millwork's own; the number is the version of the format.
const PREFIX: &[u8] = b"millwork-plan-9\n";

/// The codec that scheduler and executors share.
#[derive(Debug, Default)]
pub struct MillworkCodec {
    ballista: BallistaPhysicalExtensionCodec,
}

#[derive(Serialize, Deserialize)]
enum Node {
    Scan { rows: RowSource, projected: Vec<(usize, String)>, groups: Vec<Vec<FileRange>> },
    Sink(SinkOptions),
}

impl Node {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(sink) = plan.downcast_ref::<ParquetPartsSink>() {
            return Some(Self::Sink(sink.options().clone()));
        }
        let (source, groups) = as_scan(plan)?;
        Some(Self::Scan { rows: source.rows().clone(), projected: source.projected(), groups })
    }

    fn build(self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        match (self, inputs) {
            (Self::Scan { rows, projected, groups }, []) => {
                Ok(scan_exec(NdjsonSource::new(rows).with_projected(&projected), groups))
            }
            (Self::Sink(options), [input]) => Ok(Arc::new(ParquetPartsSink::new(input.clone(), options))),
            (_, inputs) => Err(DataFusionError::Internal(format!("a plan node with {} inputs", inputs.len()))),
        }
    }
}

impl PhysicalExtensionCodec for MillworkCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(json) = buf.strip_prefix(PREFIX) else {
            return self.ballista.try_decode(buf, inputs, ctx, converter);
        };
        let node: Node = serde_json::from_slice(json).map_err(|e| DataFusionError::External(Box::new(e)))?;
        node.build(inputs)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(ours) = Node::of(&node) else { return self.ballista.try_encode(node, buf, converter) };
        buf.extend_from_slice(PREFIX);
        serde_json::to_writer(buf, &ours).map_err(|e| DataFusionError::External(Box::new(e)))
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.ballista.try_decode_udf(name, buf)
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udf(node, buf)
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.ballista.try_decode_udaf(name, buf)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udaf(node, buf)
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.ballista.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_udwf(node, buf)
    }

    fn try_decode_higher_order_function(&self, name: &str, buf: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.ballista.try_decode_higher_order_function(name, buf)
    }

    fn try_encode_higher_order_function(&self, node: &HigherOrderUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode_higher_order_function(node, buf)
    }
}
