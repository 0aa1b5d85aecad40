import argparse
from http.server import BaseHTTPRequestHandler, HTTPServer

PAGE = "<!doctype html><body><h1>HELLO ONE</h1></body>"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())


def command_line():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    HTTPServer(("127.0.0.1", parser.parse_args().port), Handler).serve_forever()


command_line()
