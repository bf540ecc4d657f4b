"""Serves one attested page on a port that it prints, with the identity of the test data."""

import http.server
import pathlib
import sys

import dstack.ratls

data = pathlib.Path(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = b"an attested hello"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


identity = ((data / "ratls.key").read_text(), (data / "ratls.pem").read_text())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = dstack.ratls.server_context(identity=identity).wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
