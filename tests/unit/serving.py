"""A web server with configurable answers."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class Server:
    """A web server that answers by path and records its requests."""

    def __init__(self) -> None:
        """Answer like a healthy Baïkal."""
        self.statuses = {"/dav.php/": 401, "/admin/install/": 404}
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a :class:`Server` for as long as the block lasts."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 8192  # one packet for each answer, or the client's kernel delays it

        def do_GET(self) -> None:
            server.asked.append((self.command, self.path, self.headers["Host"]))
            self.send_response(server.statuses.get(self.path, 500))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_PROPFIND = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        web.daemon_threads = True
        if context:
            web.socket = context.wrap_socket(web.socket, server_side=True)
        server.port = web.server_port
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield server
        finally:
            web.shutdown()
            thread.join()
