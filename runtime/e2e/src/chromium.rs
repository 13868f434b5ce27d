//! A real Chromium without a window, told what to do over a pair of pipes (`--remote-debugging-pipe`: the DevTools
//! protocol, messages of JSON that end with a zero byte). The crates for it generate the whole protocol; the tests need
//! five of its commands.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take to look as it should.
const PATIENCE: Duration = Duration::from_secs(120);

/// The protocol's pipes are the descriptors 3 and 4.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
pub struct Chromium {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u64,
    session: Option<String>,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it with an empty page of this width and height.
    pub fn new(width: u32, height: u32) -> Chromium {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let is_there = |name: &&str| {
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|directory| directory.join(name).is_file())
        };
        let program =
            names.into_iter().find(is_there).expect("no chromium on this machine: deployment/setup.sh chromium");
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            START,
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--no-first-run",
        ]);
        command.args(["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]);
        // Its own sandbox does not run as root, as which containers build. It sees nothing but pages of the tests.
        command.arg("--no-sandbox").arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (from, complaints) = (BufReader::new(from), Vec::new());
        let mut new = Chromium { child, to, from, asked: 0, session: None, complaints, _profile: profile };
        let target = new.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        new.session = new.ask("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            new.ask(domain, json!({}));
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        new.ask("Emulation.setDeviceMetricsOverride", size);
        new
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        let answer = self.ask("Page.navigate", json!({"url": url}));
        assert_eq!(answer.get("errorText"), None, "{url}");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", ask);
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(&format!("Boolean({expression})")) != true {
            let text = || "document.body.innerText";
            assert!(begun.elapsed() < PATIENCE, "{expression} never holds in\n{}", self.value(text()));
            sleep(Duration::from_millis(50));
        }
    }

    /// Presses and releases a key, such as `Tab` or `Enter`.
    pub fn key(&mut self, key: &str) {
        let code = if key == "Enter" { 13 } else { 9 };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// Types text where the focus is.
    pub fn type_text(&mut self, text: &str) {
        self.ask("Input.insertText", json!({"text": text}));
    }

    /// Light or dark, as the machine's user likes it.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The page as it looks, into a PNG file.
    pub fn screenshot(&mut self, path: &Path) {
        let shot = self.ask("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        let decoded = self.value(&format!("Array.from(atob({}), (c) => c.charCodeAt(0))", shot["data"]));
        let bytes = decoded
            .as_array()
            .expect("bytes")
            .iter()
            .map(|byte| byte.as_u64().expect("a byte") as u8)
            .collect::<Vec<_>>();
        std::fs::write(path, bytes).expect("a file");
    }

    /// What the page and its rules complained of: exceptions, what was refused to load or to run.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("it listens");
        loop {
            let mut text = Vec::new();
            self.from.read_until(0, &mut text).expect("an answer");
            assert_eq!(text.pop(), Some(0), "chromium went away");
            let message: Value = serde_json::from_slice(&text).expect("JSON");
            if message["id"] == self.asked {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].clone();
            }
            if ["Runtime.exceptionThrown", "Log.entryAdded"].iter().any(|event| message["method"] == *event) {
                self.complaints.push(message["params"].to_string());
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It ends with its pipes at the latest.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
