//! Ballista's executor, put together from its parts.
//!
//! Ballista's own `start_executor_process` takes the signals for itself, and then ends with its last task, before the
//! scheduler has fetched what the tasks report. This one ends when the scheduler says so: only that knows when nothing
//! more is wanted.

use crate::{Address, ExecutorOptions};
use anyhow::{Context, anyhow, bail};
use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::RuntimeProducer;
use ballista_core::serde::protobuf::executor_status::Status;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{ExecutorStatus, HeartBeatParams};
use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use ballista_core::utils::{
    GrpcClientConfig, create_grpc_client_endpoint, create_grpc_server, create_grpc_server_incoming,
    default_config_producer,
};
use ballista_executor::executor::Executor;
use ballista_executor::executor_process::{ExecutorProcessConfig, structure_executor_metadata};
use ballista_executor::executor_server::{TERMINATING, startup};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use ballista_executor::shutdown::ShutdownNotifier;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use millwork_conversion::MillworkCodec;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// The largest message between scheduler and executors.
const MAX_MESSAGE_BYTES: u32 = 64 << 20;

/// Works for a scheduler, under a name by which that knows it, until the scheduler lets it go. From when `stop` is ready
/// it takes no more tasks, and goes on with those it has.
pub(crate) async fn work(
    options: ExecutorOptions,
    name: String,
    address: Address,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.work_dir)?;
    // Reports that are not fetched when the work ends are wanted by nobody.
    let work_dir = tempfile::Builder::new().prefix("session-").tempdir_in(&options.work_dir)?;
    let (port, grpc_port) = pick_ports(&options)?;
    let results: SocketAddr = format!("{}:{port}", options.bind_host).parse()?;
    let config = Arc::new(ExecutorProcessConfig {
        executor_id: name,
        external_host: Some(options.external_host.unwrap_or_else(|| options.bind_host.clone())),
        bind_host: options.bind_host,
        port,
        grpc_port,
        executor_heartbeat_interval_seconds: options.heartbeat_seconds,
        grpc_max_decoding_message_size: MAX_MESSAGE_BYTES,
        grpc_max_encoding_message_size: MAX_MESSAGE_BYTES,
        ..ExecutorProcessConfig::default()
    });
    let executor = Arc::new(executor(&config, options.vcores, work_dir.path())?);

    let url = format!("http://{address}");
    let endpoint = create_grpc_client_endpoint(url, Some(&GrpcClientConfig::default()))?;
    let mut scheduler = SchedulerGrpcClient::new(endpoint.connect().await?)
        .max_encoding_message_size(MAX_MESSAGE_BYTES as usize)
        .max_decoding_message_size(MAX_MESSAGE_BYTES as usize);

    // Listens before the scheduler knows of it.
    let incoming = create_grpc_server_incoming(results, &config.grpc_server_config)
        .with_context(|| format!("cannot listen on {results}"))?;
    let flight = FlightServiceServer::new(BallistaFlightService::new(executor.work_dir.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES as usize)
        .max_encoding_message_size(MAX_MESSAGE_BYTES as usize);
    let results = create_grpc_server(&config.grpc_server_config).add_service(flight).serve_with_incoming(incoming);

    TERMINATING.store(false, Ordering::Release);
    let parts = ShutdownNotifier::new();
    let mut parts_ended = parts.subscribe_for_shutdown();
    let (let_go, mut is_let_go) = mpsc::channel(8);
    let codec: BallistaCodec =
        BallistaCodec::new(Arc::new(BallistaLogicalExtensionCodec::default()), Arc::new(MillworkCodec::default()));
    let calls =
        startup(scheduler.clone(), config, executor.clone(), codec, let_go, &parts, ExecutorHealth::new()).await?;

    let stop = async {
        stop.await;
        // All heartbeats say it from now on; the next may be a while away.
        TERMINATING.store(true, Ordering::Release);
        let told = HeartBeatParams {
            executor_id: executor.metadata.id.clone(),
            metrics: Vec::new(),
            status: Some(ExecutorStatus { status: Some(Status::Terminating(String::new())) }),
            metadata: Some(executor.metadata.clone()),
        };
        if let Err(error) = scheduler.heart_beat_from_executor(told).await {
            tracing::warn!(%error, "cannot tell the scheduler at once that no more tasks are taken");
        }
        std::future::pending().await
    };
    let ended = tokio::select! {
        _ = is_let_go.recv() => Ok(()),
        () = stop => Ok(()),
        () = parts_ended.recv() => Err(anyhow!("the scheduler does not take heartbeats")),
        ended = results => Err(anyhow!("results are not served any more: {ended:?}")),
        ended = calls => Err(anyhow!("calls are not taken any more: {ended:?}")),
    };
    // Fails if all have ended before.
    let _ = parts.notify_shutdown.send(());
    ended
}

fn executor(config: &Arc<ExecutorProcessConfig>, vcores: usize, work_dir: &Path) -> anyhow::Result<Executor> {
    let Some(path) = work_dir.to_str() else { bail!("the path `{}` is not Unicode", work_dir.display()) };
    let metadata = structure_executor_metadata(config, u32::try_from(vcores)?);
    // Conversion bounds its memory itself, by row groups in flight; it has nothing to spill.
    let runtime = RuntimeEnvBuilder::new().with_temp_file_path(work_dir).build_arc()?;
    let runtime: RuntimeProducer = Arc::new(move |_| Ok(runtime.clone()));
    Ok(Executor::new_basic(metadata, path, runtime, Arc::new(default_config_producer), vcores))
}

/// Ports that are free now, in place of those given as 0.
fn pick_ports(options: &ExecutorOptions) -> std::io::Result<(u16, u16)> {
    let bind = |port: u16| TcpListener::bind((options.bind_host.as_str(), port));
    let (results, calls) = (bind(options.port)?, bind(options.grpc_port)?);
    let port = |listener: &TcpListener| listener.local_addr().as_ref().map(SocketAddr::port).ok();
    Ok((port(&results).unwrap_or(options.port), port(&calls).unwrap_or(options.grpc_port)))
}
