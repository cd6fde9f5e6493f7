//! `chainrule serve` as a program: finding the page, choosing the port, what it prints, opening the
//! browser, ending.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::resume::chainrule;
use crate::serve_client::{Folders, Server, content};

/// Exit code and stderr of a server that does not start.
fn fails(mut command: Command) -> (i32, String) {
    let out = command.output().expect("run");
    (out.status.code().expect("a code"), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn the_page_is_found_or_it_is_said_how_to_build_it() {
    let folders = Folders::new();
    // A program in the place where a repository's build puts it.
    let program = folders.at(&format!("repository/target/release/chainrule{}", std::env::consts::EXE_SUFFIX));
    fs::create_dir_all(program.parent().expect("a parent")).expect("made");
    fs::copy(chainrule(), &program).expect("copied");
    let elsewhere = folders.at("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let command = |arguments: &[&str], at: &Path| {
        let mut c = folders.command(&program, &[&["--port", "0", "--json"], arguments].concat());
        c.current_dir(at);
        c
    };
    for arguments in [&[][..], &["--dist", "nowhere"], &["--dist", "."]] {
        let (code, said) = fails(command(arguments, &elsewhere));
        assert!(code == 2 && said.contains("./start") && said.contains("trunk build"), "{arguments:?} {code} {said}");
    }
    let index = |arguments: &[&str], at: &Path| Server::start(command(arguments, at)).get("/", &[]).text();
    fs::create_dir(folders.at("repository/dist")).expect("made");
    fs::write(folders.at("repository/dist/index.html"), "of the repository").expect("written");
    assert_eq!(index(&[], &elsewhere), "of the repository");
    // The current folder's comes first, and what is asked for before both.
    assert_eq!(index(&[], folders.root.path()), content("index.html"));
    assert_eq!(index(&["--dist", "repository/dist"], folders.root.path()), "of the repository");
}

#[test]
fn a_taken_port_is_passed_over_unless_it_was_asked_for() {
    let folders = Folders::new();
    // Taken by this test, or by another program already.
    let _held = TcpListener::bind("127.0.0.1:8420");
    let mut server = Server::start(folders.command(&chainrule(), &["--json"]));
    assert!((8421..=8430).contains(&server.port), "{}", server.port);
    let _ = server.get("/", &[]);
    let port = server.port;
    let (code, said) = fails(folders.command(&chainrule(), &["--port", &port.to_string()]));
    assert!(code == 1 && said.contains(&format!("port {port}")) && said.contains("--port"), "{code} {said}");
    if cfg!(unix) {
        server.signal("TERM");
        assert!(server.complaints().contains(&format!("8420 is taken, so this is port {port}")));
    }
}

#[test]
fn it_prints_one_line() {
    let folders = Folders::new();
    let mut child = folders.command(&chainrule(), &["--port", "0"]).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("read");
    child.kill().expect("killed");
    child.wait().expect("waited");
    let (mut rest, mut complaints) = (String::new(), String::new());
    lines.read_to_string(&mut rest).expect("read");
    child.stderr.take().expect("piped").read_to_string(&mut complaints).expect("read");
    assert!(first.starts_with("The page is at http://127.0.0.1:"), "{first}");
    assert_eq!((rest.as_str(), complaints.as_str()), ("", ""));
    // And as JSON one object with the address.
    let server = folders.serve(&[]);
    assert_eq!(server.said, serde_json::json!({"address": format!("http://127.0.0.1:{}/", server.port)}));
}

#[test]
#[cfg(unix)]
fn signals_end_it_in_order() {
    let folders = Folders::new();
    for signal in ["INT", "TERM"] {
        let mut server = folders.serve(&[]);
        assert_eq!(server.get("/", &[]).status, 200);
        // A browser keeps connections open; one that says nothing does not hold up the end.
        let _idle = server.connect();
        assert_eq!(server.signal(signal).code(), Some(0), "{signal}");
        assert_eq!(server.complaints(), "", "{signal}");
        assert!(std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err(), "{signal}");
    }
}

/// On Linux all of 127.0.0.0/8 is this machine, so 127.0.0.2 tells whether a server listens beyond
/// 127.0.0.1; no network is needed.
#[test]
#[cfg(target_os = "linux")]
fn it_listens_beyond_loopback_only_when_told_to() {
    let folders = Folders::new();
    for (arguments, reachable) in [(&[][..], false), (&["--lan"], true)] {
        let server = folders.serve(arguments);
        let other = std::net::TcpStream::connect(("127.0.0.2", server.port));
        assert_eq!(other.is_ok(), reachable, "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn open_starts_the_browser_or_says_that_it_cannot() {
    use std::os::unix::fs::PermissionsExt;
    let folders = Folders::new();
    let (tools, opened) = (folders.at("tools"), folders.at("opened"));
    fs::create_dir(&tools).expect("made");
    let launcher = tools.join("xdg-open");
    fs::write(&launcher, format!("#!/bin/sh\necho \"$1\" > '{}'\n", opened.display())).expect("written");
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).expect("set");
    let mut command = folders.command(&chainrule(), &["--open", "--port", "0", "--json"]);
    command.env("PATH", &tools);
    let server = Server::start(command);
    let started = std::time::Instant::now();
    let url = loop {
        match fs::read_to_string(&opened) {
            Ok(text) if text.ends_with('\n') => break text,
            _ => assert!(started.elapsed().as_secs() < 20, "no browser was opened"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(url.trim(), server.said["address"].as_str().expect("an address"));

    // No launcher: the page is served all the same.
    let mut command = folders.command(&chainrule(), &["--open", "--port", "0", "--json"]);
    command.env("PATH", folders.at("empty"));
    let mut server = Server::start(command);
    assert_eq!(server.get("/", &[]).status, 200);
    server.signal("INT");
    assert!(server.complaints().contains("cannot open a browser"));
}
