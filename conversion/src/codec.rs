//! Encoding of plans for executors: Millwork's own nodes are recognised by a prefix, all others are encoded by
//! Ballista.

use crate::host::TaskHost;
use crate::sink::{ParquetPartsSink, SinkOptions};
use crate::source::{NdjsonSource, ranges_in_scan, scan_exec};
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use millwork_ndjson::{FileRange, RowSource};
use serde::{Deserialize, Serialize};
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Start of each encoded node of Millwork's own; the number is the version of the format.
const PREFIX: &[u8] = b"millwork-plan-10\n";

/// Zstandard level for Millwork's own nodes. These name each file of a manifest, and shrink to a tenth.
const LEVEL: i32 = 1;
/// Limit of a node before compression: 64 MiB, more than any plan that the scheduler sends.
const MAX_NODE_BYTES: u64 = 64 << 20;

/// Name of the format of plans, which scheduler and executors must share: that of Millwork's own nodes, and the version
/// of DataFusion, whose encoding is not stable across versions.
pub fn plan_format() -> String {
    let own = String::from_utf8_lossy(PREFIX);
    format!("{} of DataFusion {}", own.trim(), datafusion::DATAFUSION_VERSION)
}

/// The codec that scheduler and executors share.
#[derive(Debug, Default)]
pub struct MillworkCodec {
    ballista: BallistaPhysicalExtensionCodec,
    saved_bytes: AtomicU64,
}

impl MillworkCodec {
    /// Bytes that compression has saved over everything that this codec has encoded: the memory that executors need
    /// beyond the bytes they receive.
    pub fn saved_bytes(&self) -> u64 {
        self.saved_bytes.load(Ordering::Relaxed)
    }

    /// Appends a node, compressed.
    fn put(&self, node: &NodeOf<'_>, buf: &mut Vec<u8>) -> io::Result<()> {
        let before = buf.len();
        let encoder = zstd::Encoder::new(buf, LEVEL)?;
        let mut counted = Counted { to: BufWriter::with_capacity(PIECE_BYTES, encoder), bytes: 0 };
        serde_json::to_writer(&mut counted, node)?;
        let bytes = counted.bytes;
        let buf = counted.to.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
        self.saved_bytes.fetch_add(bytes.saturating_sub((buf.len() - before) as u64), Ordering::Relaxed);
        Ok(())
    }
}

/// Size of the pieces in which a node is fed to the compressor: 64 KiB.
const PIECE_BYTES: usize = 64 << 10;

/// Writer that counts the bytes written.
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Decompresses the text of a node.
fn expanded(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    zstd::Decoder::new(compressed)?.take(MAX_NODE_BYTES + 1).read_to_end(&mut json)?;
    match json.len() as u64 > MAX_NODE_BYTES {
        true => Err(io::Error::other(format!("a node of a plan has more than {MAX_NODE_BYTES} bytes, the limit"))),
        false => Ok(json),
    }
}

#[derive(Deserialize)]
enum Node {
    Scan { rows: RowSource, projected: Vec<(usize, String)>, groups: Vec<Vec<FileRange>> },
    Sink(SinkOptions),
}

/// A borrowed plan node. Nothing is copied, since a manifest may have 100,000 files.
#[derive(Serialize)]
#[serde(rename = "Node")]
enum NodeOf<'a> {
    Scan { rows: &'a RowSource, projected: &'a [(usize, String)], groups: Vec<Vec<&'a FileRange>> },
    Sink(&'a SinkOptions),
}

impl<'a> NodeOf<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(sink) = plan.downcast_ref::<ParquetPartsSink>() {
            return Some(Self::Sink(sink.options()));
        }
        let (source, groups) = ranges_in_scan(plan)?;
        Some(Self::Scan { rows: source.rows(), projected: source.projected(), groups })
    }
}

impl Node {
    fn build(self, inputs: &[Arc<dyn ExecutionPlan>], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        match (self, inputs) {
            (Self::Scan { rows, projected, groups }, []) => {
                let host = TaskHost::of(context)?;
                let room = host.reject_rooms().of(rows.plan, rows.limits.max_rejected_bytes);
                let source = NdjsonSource::new(rows, host.storage().clone()).rejecting_into(room);
                Ok(scan_exec(source.with_projected(projected)?, groups))
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
        let Some(compressed) = buf.strip_prefix(PREFIX) else {
            return self.ballista.try_decode(buf, inputs, ctx, converter);
        };
        let json = expanded(compressed)?;
        let node: Node = serde_json::from_slice(&json).map_err(|e| DataFusionError::External(Box::new(e)))?;
        drop(json);
        node.build(inputs, ctx)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(ours) = NodeOf::of(&node) else { return self.ballista.try_encode(node, buf, converter) };
        buf.extend_from_slice(PREFIX);
        Ok(self.put(&ours, buf)?)
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
