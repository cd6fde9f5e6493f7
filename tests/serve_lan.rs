//! `chainrule serve --lan`: the TLS connection, the certificate and its fingerprint, and that both
//! stay the same from one day to the next.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::resume::chainrule;
use crate::serve_client::{Folders, content};

fn certificate_file(folders: &Folders) -> PathBuf {
    folders.at("config/chainrule/lan-certificate.json")
}

fn certificate(folders: &Folders) -> Certificate<'static> {
    let kept: Value = serde_json::from_slice(&fs::read(certificate_file(folders)).expect("kept")).expect("JSON");
    Certificate::from_pem(kept["certificate"].as_str().expect("a certificate").as_bytes()).expect("a certificate")
}

/// A client that trusts these certificates and no others; it also checks that they name the host.
fn client(roots: RootCerts) -> ureq::Agent {
    let tls = TlsConfig::builder().root_certs(roots).build();
    ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).proxy(None).build().into()
}

#[test]
fn a_class_connects_over_tls_and_can_compare_the_fingerprint() {
    let folders = Folders::new();
    let server = folders.serve(&["--lan"]);
    let address = server.said["address"].as_str().expect("an address");
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");
    let certificate = certificate(&folders);
    let sum: Vec<String> = Sha256::digest(certificate.der()).iter().map(|b| format!("{b:02X}")).collect();
    assert_eq!(server.said["certificate_sha256"], sum.join(":"));

    let agent = client(RootCerts::new_with_certs(&[certificate]));
    let reachable = server.said["addresses"].as_array().expect("addresses");
    let named = format!("https://localhost:{}/", server.port);
    for url in reachable.iter().map(|a| a.as_str().expect("text")).chain([address, &named]) {
        let mut reply = agent.get(url).call().unwrap_or_else(|e| panic!("{url}: {e}"));
        assert_eq!(reply.status(), 200, "{url}");
        assert_eq!(reply.headers()["cross-origin-opener-policy"], "same-origin");
        assert_eq!(reply.body_mut().read_to_string().expect("text"), content("index.html"));
    }
    // Any address is this server's, but no name is.
    for (host, status) in [("10.1.2.3", 200), ("rebound.example", 403)] {
        assert_eq!(agent.get(address).header("Host", host).call().expect("an answer").status(), status, "{host}");
    }
    // Nobody else vouches for it, and without TLS nothing is told.
    let stranger = client(RootCerts::WebPki).get(address).call();
    assert!(stranger.is_err_and(|e| e.to_string().contains("UnknownIssuer")), "trusted without being known");
    let mut plain = server.connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut told = vec![];
    let _ = plain.read_to_end(&mut told);
    assert!(!String::from_utf8_lossy(&told).contains("HTTP"), "{told:?}");
}

#[test]
fn the_certificate_is_private_and_used_again() {
    let folders = Folders::new();
    let fingerprint = |arguments: &[&str]| folders.serve(arguments).said["certificate_sha256"].clone();
    assert_eq!(fingerprint(&[]), Value::Null);
    assert!(!certificate_file(&folders).exists(), "made without being needed");
    let first = fingerprint(&["--lan"]);
    assert_eq!(first, fingerprint(&["--lan"]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(certificate_file(&folders)).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    fs::write(certificate_file(&folders), "{").expect("written");
    let out = folders.command(&chainrule(), &["--lan", "--port", "0"]).output().expect("run");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("lan-certificate.json") && said.contains("remove"), "{said}");
    fs::remove_file(certificate_file(&folders)).expect("removed");
    assert_ne!(first, fingerprint(&["--lan"]));
}

#[test]
fn it_prints_what_a_teacher_needs() {
    let folders = Folders::new();
    let addresses = folders.serve(&["--lan"]).said["addresses"].clone();
    let mut child = folders.command(&chainrule(), &["--lan", "--port", "0"]).spawn().expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut said = vec![];
    for line in lines {
        let last = line.contains("nobody can change anything");
        said.push(line);
        if last {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("waited");
    let said = said.join("\n");
    for address in addresses.as_array().expect("addresses") {
        let host = address.as_str().and_then(|a| a.rsplit_once(':')).expect("a port").0;
        assert!(said.contains(host), "{host}: {said}");
    }
    for words in ["https://127.0.0.1:", "SHA-256 fingerprint", "warns once", "nobody can change anything"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
