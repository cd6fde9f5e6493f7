//! Sockets and connections: choosing a port, accepting, and ending without cutting anybody off.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::answer::Answerer;
use crate::cli::{CliError, system};

const PORT: u16 = 8420;
/// How many ports after `PORT` are tried.
const MORE_PORTS: u16 = 10;
/// A browser that connects has this long to agree on keys, and then to ask.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers under way may take this long when the server ends.
const FAREWELL: Duration = Duration::from_secs(3);
/// More connections than any classroom opens; above it new ones are closed.
const MOST_CONNECTIONS: usize = 1024;
/// How often the flag of Ctrl-C is looked at. It is set by a signal handler, which cannot wake us.
const POLL: Duration = Duration::from_millis(50);

/// Listens on the port asked for, else on 8420 or the first free one after it.
pub fn bind(interface: Ipv4Addr, asked: Option<u16>) -> Result<TcpListener, CliError> {
    let listen = |port| TcpListener::bind(SocketAddr::from((interface, port)));
    if let Some(port) = asked {
        return listen(port).map_err(|e| {
            CliError::Other(format!("cannot listen on port {port}: {e}; end what uses it, or choose another --port"))
        });
    }
    for port in PORT..=PORT + MORE_PORTS {
        match listen(port) {
            Ok(listener) => {
                if port != PORT {
                    system::note(&format!("port {PORT} is taken, so this is port {port}"));
                }
                return Ok(listener);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(e) => return Err(CliError::Other(format!("cannot listen on port {port}: {e}; choose another --port"))),
        }
    }
    Err(CliError::Other(format!("the ports {PORT} to {} are all taken; choose another --port", PORT + MORE_PORTS)))
}

/// A server that holds its socket and has not begun.
pub struct Server {
    runtime: Runtime,
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    answerer: Arc<Answerer>,
}

impl Server {
    pub fn new(listener: TcpListener, tls: Option<TlsAcceptor>, answerer: Answerer) -> Result<Server, CliError> {
        let failed = |e: std::io::Error| CliError::Other(format!("cannot start the server: {e}"));
        // Two threads: one file being compressed does not make the others wait.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        Ok(Server { runtime, listener, tls, answerer: Arc::new(answerer) })
    }

    /// Serves until `stop` is set, then lets answers under way finish.
    pub fn run(self, stop: &AtomicBool) {
        let Server { runtime, listener, tls, answerer } = self;
        let connections = GracefulShutdown::new();
        runtime.block_on(async {
            accept(listener, tls, answerer, &connections, stop).await;
            // The socket is closed by now. Who is too slow is cut off.
            let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Takes connections, each into a task of its own, until `stop` is set.
async fn accept(
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    answerer: Arc<Answerer>,
    connections: &GracefulShutdown,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let stream = match tokio::time::timeout(POLL, listener.accept()).await {
            Err(_nobody_came) => continue,
            Ok(Ok((stream, _))) => stream,
            Ok(Err(_)) => {
                // A connection that died while waiting, or too many open files: those that are
                // served give theirs back.
                tokio::time::sleep(POLL).await;
                continue;
            }
        };
        if connections.count() >= MOST_CONNECTIONS {
            continue;
        }
        let (tls, answerer, watcher) = (tls.clone(), answerer.clone(), connections.watcher());
        tokio::spawn(async move {
            match tls {
                None => converse(stream, answerer, watcher).await,
                // Browsers break off here when they first see the certificate: nothing to report.
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                        converse(stream, answerer, watcher).await;
                    }
                }
            }
        });
    }
}

/// Answers the requests of one connection until either side has enough.
async fn converse<S>(stream: S, answerer: Arc<Answerer>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let answerer = answerer.clone();
        async move { Ok::<_, std::convert::Infallible>(answerer.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // An error is a browser that went away.
    let _ = watcher.watch(connection).await;
}
