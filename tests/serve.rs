//! `chainrule serve` as a browser meets it: types, headers, caching, ranges, compression; what it
//! refuses to show and to whom; the data sets.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use compute::data::cifar;
use serde_json::Value;

use crate::serve_client::{FILES, Folders, Reply, SECRET, content};

/// What every answer carries, whatever else it is.
fn assert_guarded(reply: &Reply, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), value, "{what}: {name}");
    }
}

#[test]
fn files_have_their_type_their_guards_and_their_lifetime() {
    let folders = Folders::new();
    let server = folders.serve(&[]);
    for (name, content_type) in FILES {
        let reply = server.get(&format!("/{name}"), &[]);
        assert_eq!((reply.status, reply.text()), (200, content(name)), "{name}");
        assert_eq!(reply.header("content-type"), content_type, "{name}");
        let lifetime = if name.contains("abcdef") { "max-age=31536000, immutable" } else { "no-cache" };
        assert_eq!(reply.header("cache-control"), lifetime, "{name}");
        assert_guarded(&reply, name);
    }
    assert_eq!(server.get("/?lesson=3", &[]).text(), content("index.html"));
    assert_eq!(server.get("/deep/er/", &[]).text(), content("deep/er/index.html"));
    let missing = server.get("/none.js", &[]);
    assert_eq!((missing.status, missing.header("content-type")), (404, "text/plain; charset=utf-8"));
    assert_guarded(&missing, "404");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let refused = server.ask(method, "/", &["Content-Length: 0"]);
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "{method}");
        assert_guarded(&refused, method);
    }
}

#[test]
fn unchanged_files_are_not_sent_twice() {
    let folders = Folders::new();
    let server = folders.serve(&[]);
    for encoding in ["Accept-Encoding: identity", "Accept-Encoding: gzip"] {
        let first = server.get("/plain.js", &[encoding]);
        let (tag, date) = (first.header("etag"), first.header("last-modified"));
        // The compressed bytes are not those of the file: their tag may only be a weak one.
        assert_eq!(tag.starts_with("W/\""), encoding.ends_with("gzip"), "{tag}");
        for condition in [format!("If-None-Match: {tag}"), format!("If-Modified-Since: {date}")] {
            let again = server.get("/plain.js", &[encoding, &condition]);
            assert_eq!((again.status, again.body.len()), (304, 0), "{condition}");
            assert_eq!(again.header("cache-control"), "no-cache");
            assert_guarded(&again, &condition);
        }
    }
    let tag = server.get("/plain.js", &[]).header("etag").to_owned();
    fs::write(folders.dist().join("plain.js"), "changed").expect("written");
    let changed = server.get("/plain.js", &[&format!("If-None-Match: {tag}")]);
    assert_eq!((changed.status, changed.text().as_str()), (200, "changed"));
}

#[test]
fn heads_ranges_and_compression() {
    let folders = Folders::new();
    let server = folders.serve(&[]);
    let whole = content("weights.bin");
    let head = server.ask("HEAD", "/weights.bin", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.len().to_string());
    let part = server.get("/weights.bin", &["Range: bytes=100-199", "Accept-Encoding: gzip"]);
    assert_eq!((part.status, part.text().as_str()), (206, &whole[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", whole.len()));
    assert_eq!(server.get("/weights.bin", &["Range: bytes=99999999-"]).status, 416);

    for (name, smaller) in [
        ("index.html", true),
        ("plain.js", true),
        ("app-0123456789abcdef_bg.wasm", true),
        ("style-89abcdef01234567.css", true),
        ("words.json", true),
        ("weights.bin", false),
        ("picture.png", false),
    ] {
        let reply = server.get(&format!("/{name}"), &["Accept-Encoding: gzip, br"]);
        assert_eq!(reply.header("content-encoding"), if smaller { "gzip" } else { "" }, "{name}");
        let mut text = reply.text();
        if smaller {
            assert_eq!(reply.header("vary").to_ascii_lowercase(), "accept-encoding", "{name}");
            assert!(reply.body.len() < content(name).len() / 10, "{name}: {} bytes", reply.body.len());
            text.clear();
            flate2::read::GzDecoder::new(&*reply.body).read_to_string(&mut text).expect("gzip");
        }
        assert_eq!(text, content(name), "{name}");
    }
}

#[test]
fn compressed_copies_are_sent_for_files_that_never_change() {
    let folders = Folders::new();
    let (hashed, plain) = ("app-0123456789abcdef_bg.wasm", "plain.js");
    for name in [hashed, plain] {
        for ending in ["br", "gz"] {
            fs::write(folders.dist().join(format!("{name}.{ending}")), format!("{name} as {ending}")).expect("written");
        }
    }
    #[cfg(unix)]
    for ending in ["br", "gz"] {
        let copy = folders.dist().join(format!("style-89abcdef01234567.css.{ending}"));
        std::os::unix::fs::symlink(folders.at("secret.txt"), copy).expect("linked");
    }
    let server = folders.serve(&[]);
    for (accepted, encoding, ending) in [("gzip, br", "br", "br"), ("gzip", "gzip", "gz")] {
        let accept = format!("Accept-Encoding: {accepted}");
        let reply = server.get(&format!("/{hashed}"), &[&accept]);
        assert_eq!((reply.status, reply.header("content-encoding")), (200, encoding));
        assert_eq!((reply.text(), reply.header("content-type")), (format!("{hashed} as {ending}"), "application/wasm"));
        assert_eq!(reply.header("cache-control"), "max-age=31536000, immutable");
        assert_eq!(reply.header("vary").to_ascii_lowercase(), "accept-encoding");
        assert_guarded(&reply, accepted);
        let again = server.get(&format!("/{hashed}"), &[&accept, &format!("If-None-Match: {}", reply.header("etag"))]);
        assert_eq!(again.status, 304, "{accepted}");
        // A copy of a file that may change could be stale; a link could lead anywhere.
        for name in [plain, "style-89abcdef01234567.css"] {
            let reply = server.get(&format!("/{name}"), &[&accept]);
            assert_eq!((reply.status, reply.header("content-encoding")), (200, "gzip"), "{name}");
            let mut text = String::new();
            flate2::read::GzDecoder::new(&*reply.body).read_to_string(&mut text).expect("gzip");
            assert_eq!(text, content(name), "{name}");
        }
    }
    let reply = server.get(&format!("/{hashed}"), &["Accept-Encoding: identity"]);
    assert_eq!((reply.text(), reply.header("content-encoding")), (content(hashed), ""));
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let folders = Folders::new();
    let outside = folders.at("secret.txt");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, folders.dist().join("link.txt")).expect("linked");
        std::os::unix::fs::symlink(folders.root.path(), folders.dist().join("up")).expect("linked");
        std::os::unix::fs::symlink("plain.js", folders.dist().join("inner.js")).expect("linked");
    }
    let server = folders.serve(&[]);
    let absolute = outside.to_string_lossy().into_owned();
    for path in [
        "/../secret.txt",
        "/deep/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E./secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/deep\\..\\..\\secret.txt",
        "/%252e%252e/secret.txt",
        &absolute,
        &format!("/{absolute}"),
        &absolute.replace('/', "%2F"),
        &format!("file://{absolute}"),
        "/link.txt",
        "/up/secret.txt",
        "/.hidden",
        "/plain.js%00",
        "/plain.js\0.html",
        "/deep",
        "/deep/",
        "/up/",
        "/cache/secret.txt",
        "/data/secret.txt",
        "/data/../secret.txt",
        "/data/cifar10/../../cache/secret.txt",
        "../secret.txt",
        "*",
    ] {
        let reply = server.get(path, &[]);
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.status);
        assert!(!reply.text().contains(SECRET), "{path}");
    }
    // Links inside the folder are files like others.
    if cfg!(unix) {
        assert_eq!(server.get("/inner.js", &[]).text(), content("plain.js"));
    }
}

#[test]
fn only_requests_that_were_meant_for_this_machine_are_answered() {
    let folders = Folders::new();
    let server = folders.serve(&[]);
    let port = server.port;
    let ask = |target: &str, hosts: &[&str]| {
        let lines: Vec<String> = hosts.iter().map(|h| format!("Host: {h}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        server.send(format!("GET {target} HTTP/1.1"), &lines)
    };
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "[::1]", "[::1]:8420", &format!("127.0.0.1:{port}")] {
        assert_eq!(ask("/", &[host]).status, 200, "{host}");
    }
    assert_eq!(ask("http://localhost/", &["localhost"]).status, 200);
    let rebound = format!("rebound.example:{port}");
    for hosts in [
        &[rebound.as_str()][..],
        &["localhost.rebound.example"],
        &["localhost."],
        &["localhost@rebound.example"],
        &["127.0.0.1.rebound.example"],
        &["127.0.0.2"],
        &["192.168.1.2"],
        &["[::2]"],
        &["0.0.0.0"],
        &[""],
        &[],
        &["localhost", "rebound.example"],
    ] {
        for target in ["/", "/data/index.json", "/none"] {
            let reply = ask(target, hosts);
            assert!([400, 403].contains(&reply.status), "{target} of {hosts:?}: {}", reply.status);
            assert!(!reply.text().contains(&content("index.html")), "{hosts:?}");
        }
    }
    let refused = ask("/", &[&rebound]);
    assert!(refused.status == 403 && refused.text().contains("another site's name"), "{}", refused.text());
    assert_guarded(&refused, "403");
    assert_eq!(ask("http://rebound.example/", &["localhost"]).status, 403);
}

/// CIFAR-10 as the cache holds it, in size alone: files with holes take no space.
fn hollow_cifar10(cache: &Path) {
    let folder = cache.join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).expect("made");
    for name in cifar::FILES {
        let bytes = (cifar::BATCH_RECORDS * cifar::RECORD_BYTES) as u64;
        File::create(folder.join(name)).and_then(|f| f.set_len(bytes)).expect("made");
    }
    fs::write(folder.join("batches.meta.txt"), SECRET).expect("written");
}

#[test]
fn data_sets_are_listed_and_served_when_they_were_fetched() {
    let folders = Folders::new();
    let server = folders.serve(&[]);
    let index = || -> Value { serde_json::from_slice(&server.get("/data/index.json", &[]).body).expect("JSON") };
    assert_eq!(index(), serde_json::json!({"sets": []}));
    let absent = server.get("/data/cifar10/data_batch_1.bin", &[]);
    assert!(absent.status == 404 && absent.text().contains("chainrule data fetch"), "{}", absent.text());

    // Seen without a new start.
    hollow_cifar10(&folders.cache());
    let reply = server.get("/data/index.json", &[]);
    assert_eq!((reply.header("content-type"), reply.header("cache-control")), ("application/json", "no-cache"));
    let set = &index()["sets"][0];
    assert_eq!(set["name"], "cifar10");
    let files = set["files"].as_array().expect("files");
    assert_eq!(files.iter().map(|f| f["name"].as_str().expect("a name")).collect::<Vec<_>>(), cifar::FILES);
    for file in files {
        let path = format!("/{}", file["path"].as_str().expect("a path"));
        let head = server.ask("HEAD", &path, &[]);
        assert_eq!((head.status, head.header("content-type")), (200, "application/octet-stream"), "{path}");
        assert_eq!(head.header("content-length"), file["bytes"].to_string(), "{path}");
        assert_eq!(file["sha256"].as_str().map(str::len), Some(64), "{path}");
        let again = server.get(&path, &[&format!("If-None-Match: {}", head.header("etag"))]);
        assert_eq!(again.status, 304, "{path}");
    }
    let last = server.get("/data/cifar10/test_batch.bin", &["Range: bytes=30729990-"]);
    assert_eq!((last.status, last.body.as_slice()), (206, &[0; 10][..]));
    for path in [
        "/data/",
        "/data/cifar10/",
        "/data/cifar10/batches.meta.txt",
        "/data/cifar10/../secret.txt",
        "/data/cifar10/..%2f..%2fsecret.txt",
        "/data/cifar10/data_batch_1.bin/",
        "/data/cifar10/data_batch_7.bin",
        "/data/cifar-10-batches-bin/data_batch_1.bin",
        "/cifar-10-batches-bin/data_batch_1.bin",
    ] {
        assert_eq!(server.get(path, &[]).status, 404, "{path}");
    }

    // Part of it is of no use.
    fs::remove_file(folders.cache().join("cifar-10-batches-bin/data_batch_4.bin")).expect("removed");
    assert_eq!(index(), serde_json::json!({"sets": []}));
    assert_eq!(server.get("/data/cifar10/data_batch_1.bin", &[]).status, 404);
}
