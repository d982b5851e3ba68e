//! A real nginx on free ports, with its own directory.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::certs::Authority;

/// A running nginx; it ends when this is dropped.
pub struct Nginx {
    child: Child,
    directory: TempDir,
    pub port: u16,
    /// TLS with HTTP/2 and HTTP/1.1.
    pub h2_port: u16,
    /// TLS with HTTP/1.1 only.
    pub tls_port: u16,
    /// As `h2_port`, but nginx ends each connection after a few requests.
    pub short_h2_port: u16,
    pub authority: Authority,
}

impl Nginx {
    /// Starts one with the given files under `/`.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::Builder::new().prefix("aioxide-nginx-").tempdir().unwrap();
        let authority = Authority::new();
        let server = authority.issue(&["localhost", "127.0.0.1"]);
        fs::write(directory.path().join("cert.pem"), &server.certificate_pem).unwrap();
        fs::write(directory.path().join("key.pem"), &server.key_pem).unwrap();
        let root = directory.path().join("www");
        fs::create_dir_all(root.join("dav")).unwrap();
        for (name, bytes) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        // Another process may take a port between our look and nginx's: then nginx ends, and we choose others.
        for _ in 0..5 {
            let [port, h2_port, tls_port, short_h2_port] = free_ports();
            let config = directory.path().join("nginx.conf");
            fs::write(&config, configuration(directory.path(), [port, h2_port, tls_port, short_h2_port]))
                .unwrap();
            let pid_file = directory.path().join("nginx.pid");
            let mut child = Command::new(find())
                .arg("-p")
                .arg(directory.path())
                .arg("-c")
                .arg(&config)
                .arg("-e")
                .arg(directory.path().join("error.log"))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            loop {
                // It is written when all ports listen. To connect until one does might meet another program on that port, or
                // oneself: a socket without a port of its own may get the very one that it connects to.
                if fs::read_to_string(&pid_file).is_ok_and(|pid| pid.trim() == child.id().to_string()) {
                    return Self { child, directory, port, h2_port, tls_port, short_h2_port, authority };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::yield_now();
            }
        }
        panic!("nginx does not start: {}", fs::read_to_string(directory.path().join("error.log")).unwrap());
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn h2_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.h2_port)
    }

    pub fn short_h2_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.short_h2_port)
    }

    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.tls_port)
    }

    /// The directory served under `/`.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("www")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from))
        .map(|directory| directory.join("nginx"))
        .find(|program| program.is_file())
        .expect("the tests need nginx (Debian: apt install nginx-light)")
}

fn free_ports() -> [u16; 4] {
    let listeners = [0; 4].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn configuration(directory: &Path, ports: [u16; 4]) -> String {
    let [port, h2_port, tls_port, short_h2_port] = ports;
    let directory = directory.display();
    let locations = "
        location / { }
        location /gzip/ { gzip on; gzip_min_length 1; gzip_types *; }
        location /dav/ { dav_methods PUT DELETE; client_max_body_size 100m; client_body_buffer_size 1k; }
        location = /moved { return 302 /hello; }
        location = /loop { return 302 /loop; }
        location = /empty { return 204; }
        location = /echo { return 200 \"$request_method $request_uri $http_user_agent $http_x_test\"; }
        location = /connection { return 200 $connection; }
        location = /cut { return 444; }
    ";
    format!(
        "
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type application/octet-stream;
    keepalive_requests 1000000;
    keepalive_timeout 60s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    root {directory}/www;
    ssl_certificate {directory}/cert.pem;
    ssl_certificate_key {directory}/key.pem;
    server {{ listen 127.0.0.1:{port} backlog=1024; {locations} }}
    server {{ listen 127.0.0.1:{h2_port} ssl http2; {locations} }}
    server {{ listen 127.0.0.1:{tls_port} ssl; {locations} }}
    server {{ listen 127.0.0.1:{short_h2_port} ssl http2; keepalive_requests 20; {locations} }}
}}
"
    )
}
