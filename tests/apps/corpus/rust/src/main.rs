use std::io::Write;
use std::net::TcpListener;

fn main() {
    for stream in TcpListener::bind("0.0.0.0:3000").unwrap().incoming() {
        let _ = stream.unwrap().write_all(b"HTTP/1.0 200 OK\r\n\r\n<h1>HELLO ONE</h1>");
    }
}
