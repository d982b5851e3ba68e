//! A running `aioxide top --web`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::aioxide;
use super::program::Program;

/// It ends with this.
pub struct Web {
    pub child: Child,
    pub port: u16,
    pub secret: String,
}

impl Web {
    /// Starts it and waits until it has told its address.
    pub fn start(program: &Program) -> Self {
        let mut child = aioxide()
            .args(["top", &program.pid(), "--web", "--interval", "0.1"])
            .env("XDG_RUNTIME_DIR", program.environment())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let rest = line.trim_end().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, secret) = rest.split_once('/').unwrap();
        Self { child, port: port.parse().unwrap(), secret: secret.trim_end_matches('/').to_owned() }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.secret)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request as it stands, with the own `Host` in place of `HOST`; gives the whole answer.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        let request = request.replace("HOST", &format!("Host: 127.0.0.1:{}", self.port));
        stream.write_all(request.replace("SECRET", &self.secret).replace('\n', "\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        // One that is refused half-way may be reset after its answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// The body of what is below the secret.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        let answer = self.raw(&format!("GET /SECRET/{path} HTTP/1.1\nHOST\n\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        body.to_owned()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
