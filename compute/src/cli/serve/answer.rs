//! One response for one request: who may ask, which file is meant, and the headers.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::http::{Extensions, Version};
use hyper::{Method, Request, Response, StatusCode};
use tower::ServiceExt;
use tower_http::CompressionLevel;
use tower_http::compression::{Compression, CompressionBody};
use tower_http::services::ServeFile;

use super::data::{self, Data};
use super::site::{self, Site};

type AnyBody = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<AnyBody>;

/// On every response. The two `cross-origin` policies let the page measure time finely and share
/// memory between its threads, and keep other sites' pages from reading its files.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A browser may keep these for a year without asking.
const FOREVER: &str = "max-age=31536000, immutable";
/// A browser may keep these, but asks each time whether they changed.
const REVALIDATE: &str = "no-cache";

/// What responses are made of.
#[derive(Clone, Debug)]
pub struct Answerer {
    pub site: Site,
    pub data: Data,
    /// Whether others in the network are served too.
    pub lan: bool,
}

impl Answerer {
    /// The response, compressed where the browser takes that.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<CompressionBody<AnyBody>>
    where
        B: Send + 'static,
    {
        let plain = tower::service_fn(async |request| Ok::<_, std::convert::Infallible>(self.answer(request).await));
        // For what the build left no compressed copy of. The quickest level: the default one saves a
        // fifth and takes eight times as long, and a local network carries the difference in less.
        let service = Compression::new(plain).compress_when(worth_compressing).quality(CompressionLevel::Fastest);
        let Ok(mut response) = service.oneshot(request).await;
        let headers = response.headers_mut();
        if headers.contains_key(header::CONTENT_ENCODING) {
            weaken_tag(headers);
        }
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Send + 'static,
    {
        if !self.knows_host(&request) {
            return text(
                StatusCode::FORBIDDEN,
                "This server answers only under the addresses that it printed when it started: another site's name \
                 led here, which is how such a site would read what is on this machine.\n",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Files can be read here, with GET or HEAD.\n");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let path = request.uri().path().to_owned();
        if path == data::INDEX {
            let body = self.data.index().to_string();
            return whole(StatusCode::OK, "application/json", body);
        }
        let file = if Data::owns(&path) { self.data.file(&path) } else { self.site.file(&path).await };
        match file {
            Some(file) => send(&file, self.site.copies(&file).await, request).await,
            None if Data::owns(&path) => {
                text(StatusCode::NOT_FOUND, "Not here; `chainrule data fetch cifar10` fetches the data set.\n")
            }
            None => text(StatusCode::NOT_FOUND, "There is no such file in the page's folder.\n"),
        }
    }

    /// Whether a request was meant for this server. A site whose name is changed to point here (DNS
    /// rebinding) gives itself away in the Host header. On loopback three names are right; in a
    /// network any address is, since an address cannot be made to point elsewhere.
    fn knows_host<B>(&self, request: &Request<B>) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Some(host) = host.to_str().ok().and_then(|h| h.parse::<Authority>().ok()) else {
            return false;
        };
        // A request line with a whole URL names a host a second time.
        let known = |a: &Authority| {
            let name = a.host();
            ["localhost", "127.0.0.1", "[::1]"].iter().any(|n| name.eq_ignore_ascii_case(n))
                || (self.lan && name.parse::<Ipv4Addr>().is_ok())
        };
        known(&host) && request.uri().authority().is_none_or(known)
    }
}

/// A file, or the range of it that is asked for, or word that the browser's copy is still right. The
/// build's compressed copies, where they are there, are denser than what could be made at once.
async fn send<B>(file: &Path, [br, gz]: [bool; 2], request: Request<B>) -> Answer
where
    B: Send + 'static,
{
    let mut service = ServeFile::new(file);
    if br {
        service = service.precompressed_br();
    }
    if gz {
        service = service.precompressed_gzip();
    }
    let response = match service.try_call(request).await {
        Ok(response) => response,
        Err(e) => {
            // It was there a moment ago: permissions, or a build that is replacing it.
            return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("The file cannot be read: {e}\n"));
        }
    };
    let mut response = response.map(BodyExt::boxed_unsync);
    let status = response.status();
    let headers = response.headers_mut();
    if status.is_success() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(site::content_type(file)));
    }
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        let keep = if site::named_by_hash(file) { FOREVER } else { REVALIDATE };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    }
    response
}

fn text(status: StatusCode, words: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", words.to_owned())
}

fn whole(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
    response
}

/// Small answers stay as they are: gzip's frame would eat the gain.
fn worth_compressing(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let bytes = text(header::CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
    status == StatusCode::OK
        && bytes.is_none_or(|n| n >= 1024)
        && text(header::CONTENT_TYPE).is_some_and(site::compressible)
}

/// The tag names the bytes of the file; those of the compressed answer are others.
fn weaken_tag(headers: &mut HeaderMap) {
    let tag = headers.get(header::ETAG).and_then(|t| t.to_str().ok());
    let weak = tag.filter(|t| !t.starts_with("W/")).and_then(|t| HeaderValue::from_str(&format!("W/{t}")).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}
