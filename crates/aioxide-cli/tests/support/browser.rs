//! A headless Chromium that is driven through chromedriver, by the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

/// A browser with one window.
pub struct Browser {
    driver: Child,
    /// It would not survive that nobody can read it any more.
    _output: BufReader<ChildStdout>,
    session: String,
}

impl Browser {
    /// Starts a browser of that size; `None`, and a word about it, where none is installed.
    pub fn start(width: u32, height: u32) -> Option<Self> {
        let driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = driver else {
            eprintln!("skipped: there is no chromedriver (Debian: apt-get install chromium-driver)");
            return None;
        };
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = (&mut output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("successfully on port ").map(|(_, port)| port.to_owned()))
            .expect("chromedriver tells its port");
        let port = port.trim_end_matches('.');
        let mut browser =
            Self { driver, _output: output, session: format!("http://127.0.0.1:{port}/session") };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let made = browser.post(
            "",
            json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "timeouts": {"script": 60_000},
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        // Not the window's but the page's, which can be as narrow as a phone.
        browser.command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
        Some(browser)
    }

    /// Opens a page.
    pub fn open(&self, address: &str) {
        self.post("/url", json!({ "url": address }));
    }

    /// Runs a script in the page.
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits until an expression is true in the page, which it tells itself whenever it changes.
    #[track_caller]
    pub fn wait(&self, condition: &str) {
        let script = format!(
            "const done = arguments[0];
             const look = () => {{ if ({condition}) {{ observer.disconnect(); done(true); return true; }} }};
             const observer = new MutationObserver(look);
             observer.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
             look();"
        );
        let answer = self.try_post("/execute/async", &json!({"script": script, "args": []}));
        if answer.as_ref() != Ok(&Value::Bool(true)) {
            let page = self.script("return document.body.innerText");
            panic!("waited for {condition}: {answer:?}\n{}", page.as_str().unwrap_or(""));
        }
    }

    /// Waits until this text is on the page.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Clicks what a selector finds first, as a mouse does.
    pub fn click(&self, selector: &str) {
        let element = self.post("/element", json!({"using": "css selector", "value": selector}));
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.post(&format!("/element/{id}/click"), json!({}));
    }

    /// Types into what a selector finds first.
    pub fn keys(&self, selector: &str, text: &str) {
        let element = self.post("/element", json!({"using": "css selector", "value": selector}));
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.post(&format!("/element/{id}/value"), json!({ "text": text }));
    }

    /// A command of the developer tools.
    pub fn command(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// What the page and the browser have complained about.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Keeps a picture of the page for people to look at, and gives its place.
    pub fn picture(&self, name: &str) -> PathBuf {
        let text = self.send(ureq::get(format!("{}/screenshot", self.session)).call()).unwrap();
        let picture = base64::prelude::BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(&path, picture).unwrap();
        path
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).unwrap()
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request =
            ureq::post(format!("{}{path}", self.session)).config().http_status_as_error(false).build();
        self.send(request.header("content-type", "application/json").send(body.to_string()))
    }

    fn send(&self, answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().with_config().limit(1 << 26).read_to_string().unwrap();
        let mut value: Value = serde_json::from_str(&text).map_err(|_| text)?;
        match answer.status().is_success() {
            true => Ok(value["value"].take()),
            false => Err(value["value"]["message"].to_string()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
