//! A small HTTP server for one file on this machine, with the faults of real ones.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compute::cli::fetch::ARCHIVE;

/// How the server treats one request; the last one listed serves all that follow.
#[derive(Clone)]
pub enum Answer {
    Whole,
    /// Closes after so many bytes of the body.
    Cut(usize),
    /// Closes at once.
    Hang,
    IgnoreRange,
    Status(u16),
    /// Sends half, sets the flag, then the rest slowly.
    HalfThen(Arc<AtomicBool>),
}

pub struct Server {
    pub url: String,
    /// The Range header of each request; empty for none.
    pub seen: Arc<Mutex<Vec<String>>>,
}

/// A server for one file on a free port of this machine; it ends with the test process.
pub fn serve(body: Vec<u8>, answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/some/folder/", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let body = Arc::new(body);
    std::thread::spawn(move || {
        for (k, stream) in listener.incoming().enumerate() {
            let answer = answers[k.min(answers.len() - 1)].clone();
            let (log, body) = (log.clone(), body.clone());
            std::thread::spawn(move || answer_one(stream.unwrap(), &answer, &body, &log));
        }
    });
    Server { url, seen }
}

fn answer_one(mut stream: std::net::TcpStream, answer: &Answer, body: &[u8], log: &Mutex<Vec<String>>) {
    let mut range = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range:") {
            range = value.trim().to_string();
        }
        assert!(!line.starts_with("GET ") || line.contains(&format!("/some/folder/{ARCHIVE} ")), "{line}");
        line.clear();
    }
    log.lock().unwrap().push(range.clone());
    let from = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')).and_then(|r| r.parse().ok());
    let from: usize = from.unwrap_or(0);
    let (status, from) = match answer {
        Answer::Hang => return,
        Answer::Status(status) => (*status, body.len()),
        Answer::IgnoreRange => (200, 0),
        _ if from > 0 => (206, from),
        _ => (200, 0),
    };
    let part = &body[from..];
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
        part.len(),
        body.len().saturating_sub(1),
        body.len()
    );
    // The client may have gone away: then there is nobody to tell.
    let _ = stream.write_all(head.as_bytes());
    match answer {
        Answer::Cut(n) => drop(stream.write_all(&part[..*n])),
        Answer::HalfThen(flag) => {
            let (first, second) = part.split_at(part.len() / 2);
            let _ = stream.write_all(first);
            std::thread::sleep(Duration::from_millis(200));
            flag.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(200));
            let _ = stream.write_all(second);
        }
        _ => drop(stream.write_all(part)),
    }
}
