"""A TLS proxy before a test authority whose clock is another one: it changes the Date of each answer, and nothing else.

For the container `ca`, as it stands: `python3 dated.py PORT UPSTREAM SECONDS`, SECONDS that its clock is behind.
"""

from __future__ import annotations

import email.utils
import http.client
import http.server
import ssl
import sys
import time

PORT, UPSTREAM, BEHIND = (int(word) for word in sys.argv[1:4])
TRUST = ssl.create_default_context(cafile="/pebble/acme-ca.pem")
OWN = {"connection", "transfer-encoding", "content-length", "date"}


class Dated(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPSConnection("localhost", UPSTREAM, context=TRUST, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OWN:
                self.send_header(name, value)
        self.send_header("Date", email.utils.formatdate(time.time() - BEHIND, usegmt=True))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = pass_on

    def log_message(self, *_: object) -> None:
        pass


with http.server.ThreadingHTTPServer(("", PORT), Dated) as server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/pebble/acme.pem", "/pebble/acme.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
