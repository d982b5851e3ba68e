//! A real nginx over a directory of its own, for as long as a test lasts.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    child: Child,
    port: u16,
    secure_port: u16,
    directory: TempDir,
}

impl Nginx {
    /// Starts it; `root()` is empty yet.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(directory.path().join("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        // Another process may take the port between our look and nginx's: then nginx ends, and we choose another.
        for _ in 0..5 {
            // Both at a time: one that is free again may come twice.
            let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let [port, secure_port] = free.map(|listener| listener.local_addr().unwrap().port());
            let configuration = directory.path().join("nginx.conf");
            fs::write(&configuration, configured(directory.path(), port, secure_port)).unwrap();
            let mut child = Command::new(program())
                .args(["-e", "stderr", "-p"])
                .arg(directory.path())
                .arg("-c")
                .arg(&configuration)
                .stderr(Stdio::inherit())
                .spawn()
                .unwrap();
            if listens(&mut child, &directory.path().join("pid")) {
                return Nginx { child, port, secure_port, directory };
            }
        }
        panic!("nginx ended");
    }

    /// The directory that is served.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The same over TLS and HTTP/2; the certificate is its own.
    pub fn secure_url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.secure_port)
    }
}

/// Waits until it does, which it says by its pid in this file, or has ended.
///
/// To connect until something answers might meet another program on that port, or oneself: a socket without a port of its
/// own may get the very one that it connects to.
fn listens(child: &mut Child, pid_file: &Path) -> bool {
    loop {
        if fs::read_to_string(pid_file).is_ok_and(|pid| pid.trim() == child.id().to_string()) {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM: the master takes its workers with it.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn program() -> &'static str {
    // Debian keeps it where users do not look.
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx", "/opt/homebrew/bin/nginx"];
    found
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("nginx is missing: run scripts/setup_tests.sh")
}

fn configured(directory: &Path, port: u16, secure_port: u16) -> String {
    let directory = directory.display();
    // Tests may run as root, whose directories nginx's own user could not read.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; worker_processes 1; pid {directory}/pid; error_log stderr crit; {user}
         events {{ worker_connections 2000; }}
         http {{
             access_log off; keepalive_requests 1000000; tcp_nopush on; sendfile on;
             client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
             server {{ listen 127.0.0.1:{port} backlog=2000; root {directory}/root; }}
             server {{
                 listen 127.0.0.1:{secure_port} ssl http2; root {directory}/root;
                 ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
             }}
         }}"
    )
}
