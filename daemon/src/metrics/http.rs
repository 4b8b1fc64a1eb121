//! Where the metrics are read: `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::config::Listen;
use crate::socket;

/// The media type of `OpenMetrics` 1.0.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Readers at once.
const MOST_READERS: usize = 8;

/// How long a reader may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// Listens.
    ///
    /// # Errors
    /// If the address is taken or not the machine's.
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => {
                let listener = socket::bind(path)?;
                // Metrics tell nothing that the node's users must not know.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }
}

/// Serves readers, without end; `text` makes what they read.
pub(crate) async fn serve(endpoint: Endpoint, text: Arc<dyn Fn() -> String + Send + Sync>) {
    let readers = Arc::new(Semaphore::new(MOST_READERS));
    loop {
        let Ok(reader) = Arc::clone(&readers).acquire_owned().await else {
            return;
        };
        let text = Arc::clone(&text);
        let accepted = match &endpoint {
            Endpoint::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    answer(stream, text).await;
                    drop(reader);
                });
            }),
            Endpoint::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    answer(stream, text).await;
                    drop(reader);
                });
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "a reader of the metrics was not accepted");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn answer<S>(stream: S, text: Arc<dyn Fn() -> String + Send + Sync>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let response = respond(&request, &*text);
        async { Ok::<_, Infallible>(response) }
    });
    // One answer a connection: a reader that keeps it open would keep others out.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A reader that went away has read enough.
    let _ = tokio::time::timeout(PATIENCE * 2, connection).await;
}

fn respond(request: &Request<Incoming>, text: &dyn Fn() -> String) -> Response<Full<Bytes>> {
    let respond = |status, media_type, body: String| {
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, media_type);
        response
            .body(Full::from(body))
            .expect("the parts are valid")
    };
    let plain = "text/plain; charset=utf-8";
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => respond(StatusCode::OK, MEDIA_TYPE, text()),
        (_, "/metrics") => {
            let body = "only GET is answered\n".to_owned();
            respond(StatusCode::METHOD_NOT_ALLOWED, plain, body)
        }
        _ => respond(StatusCode::NOT_FOUND, plain, "try /metrics\n".to_owned()),
    }
}
