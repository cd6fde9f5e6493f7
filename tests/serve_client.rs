//! A server of the page on a free port, with folders of its own, and an HTTP client that sends what
//! it is told byte for byte: libraries would tidy up the paths and headers that matter here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::resume::chainrule;

/// Name and content type of each file of the small page.
pub const FILES: [(&str, &str); 14] = [
    ("index.html", "text/html; charset=utf-8"),
    ("app-0123456789abcdef.js", "text/javascript; charset=utf-8"),
    ("app-0123456789abcdef_bg.wasm", "application/wasm"),
    ("style-89abcdef01234567.css", "text/css; charset=utf-8"),
    ("plain.js", "text/javascript; charset=utf-8"),
    ("figure.svg", "image/svg+xml"),
    ("words.json", "application/json"),
    ("notes.md", "text/markdown; charset=utf-8"),
    ("recipe.toml", "application/toml"),
    ("serif.woff2", "font/woff2"),
    ("weights.bin", "application/octet-stream"),
    ("picture.png", "image/png"),
    ("unknown.ending", "application/octet-stream"),
    ("deep/er/index.html", "text/html; charset=utf-8"),
];

/// The folders that a server sees, and one beside the page that it must never show.
pub struct Folders {
    pub root: tempfile::TempDir,
}

/// Stands in files that must not be served.
pub const SECRET: &str = "nobody may read this";

impl Folders {
    pub fn new() -> Folders {
        let folders = Folders { root: tempfile::tempdir().expect("a folder") };
        for (name, _) in FILES {
            let path = folders.dist().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(&path, content(name)).expect("written");
        }
        for path in [folders.at("secret.txt"), folders.dist().join(".hidden"), folders.cache().join("secret.txt")] {
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, SECRET).expect("written");
        }
        folders
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn dist(&self) -> PathBuf {
        self.at("dist")
    }

    pub fn cache(&self) -> PathBuf {
        self.at("cache")
    }

    /// `program serve ...` with these folders, run in the root of them.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .args(arguments)
            .current_dir(self.root.path())
            .env("CHAINRULE_CACHE", self.cache())
            .env("XDG_CONFIG_HOME", self.at("config"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A running server on a port that the system chose, unless `arguments` name one.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let port = if arguments.contains(&"--port") { &[][..] } else { &["--port", "0"] };
        Server::start(self.command(&chainrule(), &[arguments, port, &["--json"]].concat()))
    }
}

/// Text of 40 kB that differs for each name.
pub fn content(name: &str) -> String {
    format!("/* {name} */\n").repeat(40_000 / (name.len() + 7))
}

/// A server, killed when dropped.
pub struct Server {
    child: Child,
    /// What it printed as JSON.
    pub said: Value,
    pub port: u16,
}

impl Server {
    pub fn start(mut command: Command) -> Server {
        let mut child = command.spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            let mut error = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut error).expect("read");
            panic!("no JSON but {line:?}; {error}");
        };
        let address = said["address"].as_str().expect("an address");
        let port = address.trim_end_matches('/').rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        Server { child, said, port }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    }

    /// GET with this path and these further header lines.
    pub fn get(&self, path: &str, headers: &[&str]) -> Reply {
        self.ask("GET", path, headers)
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let host = format!("Host: 127.0.0.1:{}", self.port);
        let lines = [&[host.as_str()], headers].concat();
        self.send(format!("{method} {path} HTTP/1.1"), &lines)
    }

    /// A request line and header lines as they are.
    pub fn send(&self, first: String, lines: &[&str]) -> Reply {
        let mut stream = self.connect();
        let head = [&[first.as_str()], lines, &["Connection: close\r\n\r\n"]].concat().join("\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut bytes = vec![];
        stream.read_to_end(&mut bytes).expect("an answer");
        Reply::parse(&bytes)
    }

    /// Sends a signal and waits for the end.
    pub fn signal(&mut self, name: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill").success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "still running after {name}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote on stderr, once it has ended.
    pub fn complaints(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut text).expect("read");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("text");
        let (first, lines) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let header = |l: &str| l.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
        let headers: BTreeMap<String, String> = lines.lines().filter_map(header).collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers.get("transfer-encoding").is_some_and(|e| e == "chunked") {
            body = unchunk(&body);
        }
        Reply { status, headers, body }
    }

    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|l| usize::from_str_radix(l, 16).ok());
        let length = length.expect("hex");
        if length == 0 {
            return out;
        }
        out.extend(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
}
