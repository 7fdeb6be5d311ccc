"""Wires between clients and a server: TCP, passed on as it is, that can be held up or cut."""

import contextlib
import socket
import threading


class Wire:
    """Listens on a free port of `host` and passes everything on to a server."""

    def __init__(self, server: tuple[str, int], host: str = "127.0.0.1") -> None:
        self._server = server
        self._listener = socket.create_server((host, 0))
        self._lock, self._ends = threading.Lock(), set[socket.socket]()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """HOST:PORT where it listens."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """End all connections; what is under way is lost."""
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def hold(self, data: bytes, from_client: bool) -> None:
        """Called with what is about to be passed on: may wait."""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._ends |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):  # either end may go at any time
            while data := source.recv(1 << 16):
                self.hold(data, from_client)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Cuttable(Wire):
    """Cut, it takes connections and moves no byte, as a network that drops all packets."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._whole = threading.Event()
        self._whole.set()
        super().__init__(server)

    def cut(self) -> None:
        """Move no more bytes."""
        self._whole.clear()

    def mend(self) -> None:
        """Move bytes again, of new connections: what was under way when it was cut is lost."""
        self.drop()
        self._whole.set()

    def hold(self, data: bytes, from_client: bool) -> None:
        """For as long as it is cut."""
        self._whole.wait()
