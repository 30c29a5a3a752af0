"""The server itself: an address on this machine, printed before anything is asked, and a clean end."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from ipaddress import ip_address
from typing import Any

from interpret.session.work import Worker
from nexttoken import NextTokenLM


def serve(lm: NextTokenLM, host: str = "127.0.0.1", port: int = 8000, browser: bool = True) -> None:
    """Serve the page of a model until it is interrupted.

    It answers only requests for its own address that its own page sends, and asks no other host for anything. Another
    address than that of this machine is served only with a token, which stands in the address that is printed.

    Args:
        lm: the model.
        host: the address; by default that of this machine alone.
        port: 0 takes any that is free.
        browser: whether a browser is opened.

    Raises:
        ValueError: the port is taken, or the address is not one of this machine.
        ImportError: starlette or uvicorn is missing; the message says what to install.
    """
    try:
        import uvicorn  # noqa: F401  whether it is there

        from interpret.server.app import application
    except ImportError as error:
        raise ImportError(
            f"the page needs the package {error.name}; pip install 'nexttoken-interpret[page]' installs it"
        ) from error
    with listening(host, port) as listener:
        port = listener.getsockname()[1]
        token = None if is_loopback(host) else secrets.token_urlsafe(24)
        address = address_of(host, port, token)
        worker = Worker()
        server = server_of(application(lm, worker, None if token else own_hosts(host, port), token))
        print(address, flush=True)
        if browser:
            webbrowser.open(address)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            worker.close()


def server_of(app: Any) -> Any:
    """A uvicorn server of an application that says nothing of requests, and waits for none of them at its end."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=3,
            server_header=False, h11_max_incomplete_event_size=2**16,
        )
    )  # fmt: skip


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ValueError where that is not possible, with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot serve on {host}, port {port}: {error}; take another --port, or 0 for any that is free"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_hosts(host: str, port: int) -> frozenset[str]:
    """What `Host` may say of a server on this machine."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    return frozenset(f"{name}:{port}".lower() for name in names) | (frozenset(names) if port == 80 else frozenset())


def address_of(host: str, port: int, token: str | None) -> str:
    """What to open; a token stands after the #, which a browser sends to nobody."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={token}" if token else "")
