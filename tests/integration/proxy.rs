//! What stands between processes and a server, and can break all connections and refuse new ones.

use std::sync::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    target: String,
    runtime: Handle,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// A proxy of `HOST:PORT`.
    pub(crate) fn start(runtime: &Handle, target: &str) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = runtime.spawn(serve(listener, target.to_owned()));
        let serving = Mutex::new(Some(serving));
        Self { port, target: target.to_owned(), runtime: runtime.clone(), serving }
    }

    pub(crate) fn refuse(&self) {
        let serving = self.serving.lock().unwrap().take().unwrap();
        serving.abort();
        assert!(self.runtime.block_on(serving).is_err());
    }

    pub(crate) fn accept(&self) {
        let listener = self.runtime.block_on(TcpListener::bind(("127.0.0.1", self.port))).unwrap();
        *self.serving.lock().unwrap() = Some(self.runtime.spawn(serve(listener, self.target.clone())));
    }
}

async fn serve(listener: TcpListener, target: String) {
    // Ends with this.
    let mut connections = JoinSet::new();
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let target = target.clone();
        connections.spawn(async move {
            let mut to = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut from, &mut to).await
        });
    }
}
