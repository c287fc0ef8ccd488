"""Who may use the demo: its own page and programs of this computer. And whom it may call: nobody else."""

import ipaddress
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
OWN_NAMES = frozenset({HOST, "localhost"})
"""By which a browser of this computer, or at the other end of an SSH tunnel, calls the demo."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Answers 403 to what other sites' pages ask a browser to ask, and passes on the rest.

    - ``Host`` must be a name of this computer's own (on any port: a tunnel may begin at another one). A site
      whose name is made to lead here (DNS rebinding) has its own name there.
    - ``Origin``, which browsers add to whatever changes something, must be this host.
    - ``Sec-Fetch-Site``, which browsers add to everything, must be the demo itself, unless a person follows a
      link to it. So no other page can embed it.

    Args:
        app: What is guarded.
        port: Of the demo, for the answer.
    """

    def __init__(self, app: App, port: int) -> None:
        self.app, self.port = app, port

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan" or is_own(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            text = f"403: the demo answers its own page alone. Open http://{HOST}:{self.port} in a tab.\n"
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})


def is_own(scope: Message) -> bool:
    """Whether a request comes from the demo's own page, from a person, or from a program."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip().lower())
    hosts, origins = headers.get("host", []), headers.get("origin", [])
    if len(hosts) != 1 or _name_of(hosts[0]) not in OWN_NAMES:
        return False
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return False
    followed = (
        scope.get("method") in ("GET", "HEAD")
        and scope["path"] == "/"
        and headers.get("sec-fetch-mode") == ["navigate"]
        and headers.get("sec-fetch-dest") == ["document"]
    )
    return followed or all(site in ("same-origin", "none") for site in headers.get("sec-fetch-site", []))


def _name_of(host: str) -> str | None:
    """The name in ``name:port``; None if it is no such thing."""
    try:
        parts = urlsplit(f"//{host}")
        valid = parts.netloc == host and "@" not in host and parts.port != 0
        return parts.hostname if valid else None
    except ValueError:
        return None


def stay_local() -> None:
    """Let this process look up no name and connect to no other computer, as long as it lives.

    gradio would fetch an image whose address a request names in place of an uploaded file.
    """
    sys.addaudithook(_refuse_to_leave)


def _refuse_to_leave(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getnameinfo"):
        address = arguments[-1]
        host = address[0] if isinstance(address, tuple) else None  # else of a Unix socket, or connected
    else:
        return
    if not (host is None or is_local(host)):
        raise PermissionError(f"the demo may not call {host}: nothing leaves this computer")


def is_local(host: str | bytes) -> bool:
    """Whether a name or an address is this computer's own."""
    text = host.decode("latin-1") if isinstance(host, bytes) else host
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return text in ("", "localhost")
