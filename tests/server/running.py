"""A page of a tiny model that really runs, and what a client needs to ask it."""

import http.client
import json
import threading
from contextlib import closing, contextmanager

from interpret.server.app import application
from interpret.server.serve import address_of, listening, own_hosts, server_of
from interpret.session.work import Worker


@contextmanager
def page(lm, token=None, max_waiting=16):
    """The address of a server in this process, with its worker; both end afterwards."""
    listener, worker = listening("127.0.0.1", 0), Worker(max_waiting)
    port = listener.getsockname()[1]
    app = application(lm, worker, None if token else own_hosts("127.0.0.1", port), token)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Client(port, token), address_of("127.0.0.1", port, token), worker
    finally:
        server.should_exit = True
        thread.join(20)
        worker.close()
        listener.close()
        assert not thread.is_alive()


class Client:
    """Asks a server on this machine, as a browser that shows its page would."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token

    def send(self, method, path, body=None, **headers):
        """A response that was not read yet, and its connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        given = {"Content-Type": "application/json"} if method == "POST" else {}
        if self.token:
            given["Authorization"] = f"Bearer {self.token}"
        given |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, given)
        return connection.getresponse(), connection

    def get(self, path, **headers):
        """Status, headers and body."""
        response, connection = self.send("GET", path, **headers)
        with closing(connection):
            return response.status, dict(response.getheaders()), response.read()

    def ask(self, kind, body, **headers):
        """Status, and the events in order, or what was said in their place."""
        response, connection = self.send("POST", f"/api/{kind}", body, **headers)
        with closing(connection):
            lines = [json.loads(line) for line in response.read().splitlines() if line.strip()]
        return response.status, lines

    def last(self, kind, **body):
        """The last event of a question that is answered."""
        status, events = self.ask(kind, body)
        assert status == 200, events
        return events[-1]
