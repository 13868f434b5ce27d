//! The probe refuses stores that ignore conditional writes, or honour them only one at a time. Each is a small server of this
//! file's own that speaks as much of S3 as the probe asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use flow_store::{Error, Keys, Settings, Store};
use tokio::runtime::Builder;

/// What a store does with a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conditions {
    /// Keeps it.
    Kept,
    /// Writes always.
    Ignored,
    /// Looks at it, and writes a moment later whatever happened meanwhile.
    LookedAt,
    /// Says that it does not know such a thing.
    Unknown,
    /// Says that it was not met, and writes all the same.
    Pretended,
}

/// A store in memory: contents by path, and a count that makes tags.
#[derive(Default)]
struct Objects {
    contents: BTreeMap<String, (Vec<u8>, String)>,
    count: u64,
}

impl Objects {
    fn meets(&self, path: &str, absent: bool, tag: Option<&str>) -> bool {
        match self.contents.get(path) {
            Some((_, found)) => !absent && tag.is_none_or(|tag| tag == found),
            None => tag.is_none(),
        }
    }

    fn write(&mut self, path: &str, content: Vec<u8>) -> String {
        self.count += 1;
        let tag = format!("\"{:032x}\"", self.count);
        self.contents.insert(path.to_owned(), (content, tag.clone()));
        tag
    }
}

/// Starts one; returns its endpoint.
fn serve(conditions: Conditions) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let objects = Arc::new(Mutex::new(Objects::default()));
    spawn(move || {
        for client in listener.incoming().flatten() {
            let objects = objects.clone();
            spawn(move || while answer(&client, &objects, conditions).is_some() {});
        }
    });
    endpoint
}

/// Answers one request; nothing when the client has gone.
fn answer(client: &TcpStream, objects: &Mutex<Objects>, conditions: Conditions) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
    let (method, path) = first.split_once(' ').and_then(|(method, rest)| Some((method, rest.split_once(' ')?.0)))?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (status, tag, body) = match method {
        "PUT" => put(objects, conditions, path, &headers, body),
        "GET" if query.contains("list-type") => list(objects, path),
        "GET" => match objects.lock().expect("no panic").contents.get(path) {
            Some((content, tag)) => ("200 OK", tag.clone(), content.clone()),
            None => error("404 Not Found", "NoSuchKey"),
        },
        "POST" => {
            let body = String::from_utf8(body).expect("XML");
            let (_, rest) = body.split_once("<Key>").expect("a key");
            let (key, _) = rest.split_once("</Key>").expect("its end");
            objects.lock().expect("no panic").contents.remove(&format!("{path}{key}"));
            ("200 OK", String::new(), b"<DeleteResult/>".to_vec())
        }
        other => panic!("{other} {path}"),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: {tag}\r\n\r\n", body.len());
    let mut client = client;
    client.write_all(&[head.as_bytes(), &body].concat()).ok()
}

type Answer = (&'static str, String, Vec<u8>);

fn error(status: &'static str, code: &str) -> Answer {
    (status, String::new(), format!("<Error><Code>{code}</Code><Message>no</Message></Error>").into_bytes())
}

fn put(
    objects: &Mutex<Objects>,
    conditions: Conditions,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> Answer {
    let (absent, tag) = (headers.contains_key("if-none-match"), headers.get("if-match").map(String::as_str));
    assert!(absent || tag.is_some(), "the probe writes under conditions only");
    let written = |tag: String| ("200 OK", tag, Vec::new());
    let failed = || error("412 Precondition Failed", "PreconditionFailed");
    let mut held = objects.lock().expect("no panic");
    let met = held.meets(path, absent, tag);
    match conditions {
        Conditions::Unknown => error("501 Not Implemented", "NotImplemented"),
        Conditions::Kept if met => written(held.write(path, body)),
        Conditions::Kept => failed(),
        Conditions::Ignored => written(held.write(path, body)),
        Conditions::Pretended if met => written(held.write(path, body)),
        Conditions::Pretended => {
            held.write(path, body);
            failed()
        }
        Conditions::LookedAt if !met => failed(),
        Conditions::LookedAt => {
            drop(held);
            sleep(Duration::from_millis(20));
            written(objects.lock().expect("no panic").write(path, body))
        }
    }
}

fn list(objects: &Mutex<Objects>, bucket: &str) -> Answer {
    let objects = objects.lock().expect("no panic");
    let names: BTreeSet<&str> = objects.contents.keys().filter_map(|path| path.strip_prefix(bucket)).collect();
    let listed = names
        .iter()
        .map(|name| format!("<Contents><Key>{}</Key><Size>1</Size></Contents>", name.trim_start_matches('/')));
    let body = format!("<ListBucketResult>{}</ListBucketResult>", listed.collect::<String>());
    ("200 OK", String::new(), body.into_bytes())
}

fn probe(conditions: Conditions) -> Result<(), Error> {
    let keys = Some(Keys { id: "flow".to_owned(), secret: "secret".to_owned() });
    let settings = Settings { endpoint: Some(serve(conditions)), keys, ..Settings::default() };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let location = "s3://bucket/flow".parse().expect("a location");
        Store::open(&location, &settings).await.expect("it opens").probe().await
    })
}

#[test]
fn stores_that_do_not_keep_conditions_are_refused() {
    let check = |conditions: Conditions, part: &str| {
        // Whatever the race's outcome: a probe that misses a bad store now and then is found out by many.
        for _ in 0..5 {
            let error = probe(conditions).expect_err("it is unfit");
            assert!(matches!(error, Error::Unfit { .. }) && !error.is_retryable(), "{conditions:?}: {error:?}");
            let text = error.to_string();
            assert!(text.starts_with("s3://bucket/flow can't hold checkpoints: ") && text.contains(part), "{text}");
            assert!(text.ends_with("Amazon S3, MinIO, or a directory"), "{text}");
        }
    };
    check(Conditions::Ignored, "8 of 8 conditional writes won that were sent at once");
    check(Conditions::LookedAt, "conditional writes won that were sent at once");
    check(Conditions::Unknown, "it refuses conditional writes: NotImplemented");
    check(Conditions::Pretended, "an object is not what was written last");
}

#[test]
fn one_that_keeps_them_passes() {
    probe(Conditions::Kept).expect("it is fit");
}
