"""A server for the supervisor's tests: `python fake_server.py HOST PORT FOLDER`. It does what files in the folder say.

`die`: ends at once, with code 3; `silent`: takes connections and answers nobody; `child`: starts one, whose id it notes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        while (FOLDER / "silent").exists():
            time.sleep(0.05)
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


with (FOLDER / "starts").open("a") as file:
    file.write(".")
if (FOLDER / "die").exists():
    sys.exit("this server was told to die")
if (FOLDER / "child").exists():
    child = subprocess.Popen(["sleep", "600"])
    (FOLDER / "child").write_text(str(child.pid))
ThreadingHTTPServer((HOST, PORT), Handler).serve_forever()
