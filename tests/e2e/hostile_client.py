"""Runs in the client Pod: Ultralytics' own client reads models' metadata from a server that answers as Triton does.

    hostile_client.py CONFIGS

CONFIGS has a configuration a line, as Triton tells it. Prints JSON, for this client and for an older one, which evaluated with eval(): what it made
of each metadata, as a Python literal, or the name of its error; and the commands that the system was given meanwhile.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.backends import base
from ultralytics.utils import triton

CONFIGS = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()


class Server(BaseHTTPRequestHandler):
    """Triton's answer to a question for a model's configuration; the model's name is the line's number."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = CONFIGS[int(self.path.split("/")[3])].encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def read(url: str) -> str:
    """What the client made of a model's metadata."""
    try:
        return ascii(AutoBackend(url, verbose=False).metadata)
    except Exception as error:  # noqa: BLE001  whatever it is, its name is told
        return type(error).__name__


def main() -> None:
    """Both clients, all lines."""
    commands: list[str] = []
    sys.addaudithook(lambda event, arguments: commands.append(str(arguments)) if event == "os.system" else None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = []
    for evaluate in (triton.ast.literal_eval, eval):
        triton.ast = base.ast = SimpleNamespace(literal_eval=evaluate)
        made = [read(f"http://127.0.0.1:{server.server_port}/{number}") for number in range(len(CONFIGS))]
        found.append({"made": made, "commands": commands[:]})
    print(json.dumps(found))


main()
