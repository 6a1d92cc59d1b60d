"""A client of creche, the supervision runtime for child processes. One file, standard library alone, Python 3.9 or later.

    from creche import Client

    with Client.over_stdio() as client:                      # a runtime of your own: `creche stdio`
        client.start(name="demo", template="demo")
        print(client.ask("demo", "hello")["text"])

    with Client.over_socket() as client:                     # the runtime that `creche serve` runs
        for entry in client.ask_stream("demo", "hello"):
            if entry["type"] == "turn/delta":
                print(entry["text"], end="")

What goes over the wire stays as it is: sessions, turns and entries are dictionaries with the fields of docs/protocol.md, and
`request` takes every method of it by name. Where a name is Python's own it is written as Python does (`timeout_ms`), and
`timeout` is in seconds and counts on this side: when it is over, the request is given up and `RequestTimeout` is raised.

A client may be used by many threads at once; a subscription or a stream by one at a time. Each client has two threads (one
reads, one writes) as long as its connection lives, and none after `close`.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import queue
import random
import socket as sockets
import subprocess
import threading
import time
import uuid
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

__all__ = ["Client", "CrecheError", "ConnectionLost", "RequestTimeout", "Reconnect", "Subscription", "TurnStream"]
__version__ = "0.1.0"

Json = Any
Session = Dict[str, Json]
Turn = Dict[str, Json]
Entry = Dict[str, Json]
Prompt = Union[str, Sequence[Mapping[str, Json]]]

#: A runtime takes messages of at most so many bytes.
LIMIT_BYTES = 16 * 1024 * 1024

#: While so many events wait for their reader, and nobody waits for an answer, nothing more is read.
_HELD_EVENTS = 4096

#: Methods that only read; with asks and tells (by their idempotency key) they are what is repeated.
_READS = frozenset(
    [
        *("initialize", "runtime/info", "runtime/stats", "runtime/health", "runtime/metrics", "runtime/tree"),
        *("session/get", "session/list", "session/transcript", "session/history", "session/search"),
        "session/screen",
        *("turn/get", "turn/wait", "template/list", "template/get"),
    ]
)
_TURNS = frozenset(["session/ask", "session/tell"])


class CrecheError(Exception):
    """What a request fails with: the runtime's own error, or one of this side with code 0.

    `tag` names the condition (as `SessionNotFound`), `data` has the tag and the fields that identify what it is about.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, Json]) -> None:
        super().__init__(message)
        self.code = code
        self.data: Dict[str, Json] = dict(data)
        self.tag: str = str(self.data.get("tag", "Unknown"))


class ConnectionLost(CrecheError):
    """The connection is over. `data["sent"]`, where it is there, says whether the request may have been done."""

    def __init__(self, message: str, **data: Json) -> None:
        super().__init__(0, message, {"tag": "ConnectionLost", **data})


class RequestTimeout(CrecheError, TimeoutError):
    """`timeout` was over before the answer came. The request was given up; a turn that was accepted goes on."""

    def __init__(self, what: str, timeout: Optional[float]) -> None:
        super().__init__(0, f"no answer to {what} within {timeout} s", {"tag": "RequestTimeout", "method": what})


class Reconnect(NamedTuple):
    """How a client comes back over the socket; times in seconds."""

    #: Before the second attempt; the first is made at once.
    initial: float = 0.05
    #: Each pause is so many times the one before.
    factor: float = 2.0
    maximum: float = 2.0
    #: A fraction of each pause, up or down.
    jitter: float = 0.2
    #: How long the runtime may be away before a request fails with ConnectionLost; None: as long as it takes.
    within: Optional[float] = 60.0

    def pause(self, attempt: int) -> float:
        """Seconds before attempt 1, 2, 3 …"""
        base = min(self.maximum, self.initial * self.factor ** min(attempt, 64))
        return base * (1 + self.jitter * (2 * random.random() - 1))


def _from_wire(error: Mapping[str, Json]) -> CrecheError:
    data = error.get("data") or {}
    code, message = error["code"], error["message"]
    detail = data.get("detail")
    # The specification fixes the messages of its own errors; what they mean here stands in `detail`.
    if -32700 <= code <= -32600 and code != -32602 and isinstance(detail, str):
        method = f"{data['method']}: " if "method" in data else ""
        message = f"{message}: {method}{detail}"
    return CrecheError(code, message, data)


class _Deadline:
    """A moment by which something must be done; None: no such moment."""

    def __init__(self, timeout: Optional[float]) -> None:
        self.timeout = timeout
        self._at = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> Optional[float]:
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def over(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at


class _SocketPipe:
    """Bytes over a unix socket that is connected already."""

    def __init__(self, connected: sockets.socket) -> None:
        self._socket = connected

    def read(self) -> bytes:
        return self._socket.recv(65536)

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hang_up(self) -> None:
        """Wakes whoever reads or writes."""
        try:
            self._socket.shutdown(sockets.SHUT_RDWR)
        except OSError:
            pass

    def release(self) -> None:
        self._socket.close()


class _ProcessPipe:
    """Bytes over the standard streams of a runtime that this program started, and that ends when its input does."""

    def __init__(self, process: "subprocess.Popen[bytes]", grace: float) -> None:
        self.process = process
        self._grace = grace

    def read(self) -> bytes:
        assert self.process.stdout is not None
        return os.read(self.process.stdout.fileno(), 65536)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.process.stdin.fileno(), rest) :]

    def hang_up(self) -> None:
        """Called by the writer, after its last message."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            pass

    def release(self) -> None:
        """Waits for the runtime, which stops its sessions first. The reader still takes what it says meanwhile."""
        try:
            self.process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def release_output(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Feed:
    """Events on their way to one reader. Guarded by its link's lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.events: Deque[Dict[str, Json]] = deque()
        self.ending: Optional[str] = None


class _Call:
    """A request that waits for its answer. Guarded by its link's lock."""

    def __init__(
        self, lock: threading.Lock, feed: Optional[_Feed], on_result: Optional[Callable[[Json], None]]
    ) -> None:
        self.answered = threading.Condition(lock)
        self.feed = feed
        self.on_result = on_result
        self.done = False
        self.result: Json = None
        self.error: Optional[CrecheError] = None


class _Link:
    """One connection: a reader and a writer thread, the requests that wait and the feeds of subscriptions and streams."""

    def __init__(self, pipe: Union[_SocketPipe, _ProcessPipe]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        #: Notified when the reader may have room again.
        self._room = threading.Condition(self._lock)
        self._ids = itertools.count(1)
        self._calls: Dict[int, _Call] = {}
        self._feeds: Dict[str, _Feed] = {}
        self._held = 0
        #: Calls whose caller waits for the answer alone.
        self._plain = 0
        self.lost: Optional[ConnectionLost] = None
        self._outbox: "queue.SimpleQueue[Optional[bytes]]" = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._read, name="creche-reader", daemon=True),
            threading.Thread(target=self._write, name="creche-writer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # What requests do

    def send(
        self,
        method: str,
        params: Mapping[str, Json],
        feed: Optional[_Feed] = None,
        on_result: Optional[Callable[[Json], None]] = None,
    ) -> Tuple[int, _Call]:
        call = _Call(self._lock, feed, on_result)
        number = next(self._ids)
        text = self._text({"id": number, "method": method, "params": params})
        with self._lock:
            if self.lost is not None:
                raise ConnectionLost(str(self.lost), method=method, sent=False)
            self._calls[number] = call
            if feed is None:
                self._plain += 1
                self._room.notify_all()
        self._outbox.put(text)
        return number, call

    def wait(self, number: int, call: _Call, method: str, deadline: _Deadline) -> Json:
        with self._lock:
            try:
                while not call.done:
                    if deadline.over:
                        raise RequestTimeout(method, deadline.timeout)
                    call.answered.wait(deadline.left)
            except BaseException:
                self._give_up(number)
                raise
        if call.error is not None:
            raise call.error
        return call.result

    def feed(self) -> _Feed:
        return _Feed(self._lock)

    def subscribe(self, params: Mapping[str, Json], deadline: _Deadline) -> Tuple[str, _Feed]:
        feed = self.feed()
        # Runs in the reader, before it takes the next message: the feed is known when its first event comes.
        number, call = self.send(
            "session/subscribe", params, None, lambda result: self._feeds.__setitem__(result["subscription"], feed)
        )
        return self.wait(number, call, "session/subscribe", deadline)["subscription"], feed

    def take(self, feed: _Feed, deadline: _Deadline) -> Optional[Dict[str, Json]]:
        """The next event; None when the feed has ended. Raises RequestTimeout."""
        with self._lock:
            while not feed.events:
                if feed.ending is not None:
                    return None
                if deadline.over:
                    raise RequestTimeout("the next event", deadline.timeout)
                feed.changed.wait(deadline.left)
            self._held -= 1
            if self._held < _HELD_EVENTS:
                self._room.notify_all()
            return feed.events.popleft()

    def drop(self, feed: _Feed, subscription: Optional[str], number: Optional[int] = None) -> None:
        """Nobody reads the feed any more."""
        with self._lock:
            self._held -= len(feed.events)
            feed.events.clear()
            feed.ending = feed.ending or "closed"
            if number is not None:
                self._give_up(number)
            known = subscription is not None and self._feeds.pop(subscription, None) is not None
            if known and self.lost is None:
                ask = {"id": next(self._ids), "method": "session/unsubscribe", "params": {"subscription": subscription}}
                self._outbox.put(self._text(ask))
            self._room.notify_all()
            feed.changed.notify_all()

    def _give_up(self, number: int) -> None:
        if self._forget(number) and self.lost is None:
            self._outbox.put(self._text({"method": "$/cancelRequest", "params": {"id": number}}))

    # How it ends

    def close(self, farewell: Optional[Mapping[str, Json]] = None) -> None:
        """Ends the connection and waits for its threads, and for the runtime where it was started by this program."""
        if farewell is not None and self.lost is None:
            self._outbox.put(self._text(farewell))
        self._end("this client closed it")
        if isinstance(self._pipe, _SocketPipe):
            self._pipe.hang_up()
        else:
            self._pipe.release()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        if isinstance(self._pipe, _ProcessPipe):
            self._pipe.release_output()
        else:
            self._pipe.release()

    def _end(self, detail: str) -> None:
        with self._lock:
            if self.lost is not None:
                return
            self.lost = ConnectionLost(f"the connection to the runtime is over: {detail}")
            message = str(self.lost)
            self._fail_all(lambda: ConnectionLost(message, sent=True))
            for feed in self._feeds.values():
                feed.ending = feed.ending or "lost"
                feed.changed.notify_all()
            self._feeds.clear()
            self._room.notify_all()
        self._outbox.put(None)

    def _fail_all(self, make: Callable[[], CrecheError]) -> None:
        for number, call in list(self._calls.items()):
            call.error = make()
            self._finish(number, call)

    def _finish(self, number: int, call: _Call) -> None:
        call.done = True
        call.answered.notify_all()
        if call.feed is not None:
            call.feed.ending = call.feed.ending or "answered"
            call.feed.changed.notify_all()
        self._forget(number)

    def _forget(self, number: int) -> bool:
        call = self._calls.pop(number, None)
        if call is not None and call.feed is None:
            self._plain -= 1
        return call is not None

    # The threads

    @staticmethod
    def _text(message: Mapping[str, Json]) -> bytes:
        data = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"), allow_nan=False).encode("ascii")
        if len(data) > LIMIT_BYTES:
            raise CrecheError(
                0,
                f"the message has {len(data)} bytes, and a runtime takes at most {LIMIT_BYTES}; it was not sent",
                {"tag": "MessageTooLarge", "limitBytes": LIMIT_BYTES, "bytes": len(data)},
            )
        return data + b"\n"

    def _write(self) -> None:
        try:
            while True:
                text = self._outbox.get()
                if text is None:
                    break
                self._pipe.write(text)
        except (OSError, ValueError) as error:
            self._end(str(error))
        if isinstance(self._pipe, _ProcessPipe):
            self._pipe.hang_up()

    def _read(self) -> None:
        detail = "the runtime closed it"
        parts: List[bytes] = []
        try:
            while True:
                data = self._pipe.read()
                if not data:
                    break
                *lines, rest = data.split(b"\n")
                for line in lines:
                    parts.append(line)
                    text = b"".join(parts)
                    parts.clear()
                    if text.strip():
                        self._take_in(json.loads(text))
                if rest:
                    parts.append(rest)
        except OSError as error:
            detail = str(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            detail = f"the other side does not speak the protocol: {error!r}"
        self._end(detail)
        if isinstance(self._pipe, _SocketPipe):
            self._pipe.hang_up()
        else:
            # What it still says is not heard, and must not block it.
            try:
                while self._pipe.read():
                    pass
            except OSError:
                pass

    def _take_in(self, message: Dict[str, Json]) -> None:
        with self._lock:
            if message.get("method") == "session/event":
                self._event(message["params"])
                # Whoever waits for an answer may be the very one that shall take the events.
                while self._held >= _HELD_EVENTS and self._plain == 0 and self.lost is None:
                    self._room.wait()
                return
            number = message.get("id")
            error = message.get("error")
            if number is None:
                # The runtime could not read whose message it refused: it may have been any of those that wait.
                if error is not None:
                    self._fail_all(lambda: _from_wire(error))
                return
            call = self._calls.get(number)
            if call is None:
                # Given up by its caller, who then has no use for a subscription either.
                result = message.get("result")
                if isinstance(result, dict) and "subscription" in result and self.lost is None:
                    ask = {"id": next(self._ids), "method": "session/unsubscribe", "params": result}
                    self._outbox.put(self._text(ask))
                return
            if error is not None:
                call.error = _from_wire(error)
            else:
                call.result = message.get("result")
                if call.on_result is not None:
                    call.on_result(call.result)
            self._finish(number, call)

    def _event(self, params: Dict[str, Json]) -> None:
        if "subscription" in params:
            feed = self._feeds.get(params["subscription"])
            if feed is None:
                return
            if params.get("ended"):
                del self._feeds[params["subscription"]]
                feed.ending = feed.ending or "removed"
                feed.changed.notify_all()
                return
        else:
            call = self._calls.get(params.get("request"))  # type: ignore[arg-type]
            feed = None if call is None else call.feed
            if feed is None or feed.ending is not None:
                return
        feed.events.append({key: params[key] for key in ("entry", "missed") if key in params})
        self._held += 1
        feed.changed.notify_all()


def _absolute(value: Optional[str]) -> Optional[str]:
    return value if value and os.path.isabs(value) else None


def find_socket(path: Optional[str] = None, data: Optional[str] = None) -> Tuple[str, str, bool]:
    """The socket and the data directory, as the command line finds them: what is given, CRECHE_SOCKET and CRECHE_DATA,
    $XDG_RUNTIME_DIR/creche.sock, else in the data directory. The third: another data directory's runtime may answer there."""
    env = os.environ
    state = _absolute(env.get("XDG_STATE_HOME")) or os.path.join(os.path.expanduser("~"), ".local", "state")
    named = data or env.get("CRECHE_DATA")
    directory = os.path.abspath(named) if named else os.path.join(state, "creche")
    given = path or env.get("CRECHE_SOCKET")
    if given:
        return os.path.abspath(given), directory, False
    runtime = _absolute(env.get("XDG_RUNTIME_DIR"))
    if runtime is None:
        return os.path.join(directory, "creche.sock"), directory, False
    return os.path.join(runtime, "creche.sock"), directory, bool(named)


class Client:
    """A connection to a runtime; made by `over_socket` or `over_stdio`. Closes at the end of a `with` block."""

    def __init__(
        self, dial: Callable[[], _Link], reconnect: Optional[Reconnect], timeout: Optional[float], owns: bool
    ) -> None:
        self._dial = dial
        self._reconnect = reconnect
        self._timeout = timeout
        self._owns = owns
        #: Held by the one that dials.
        self._dialling = threading.Lock()
        self._closed = threading.Event()
        self._link = dial()

    @classmethod
    def over_socket(
        cls,
        path: Optional[str] = None,
        *,
        data: Optional[str] = None,
        timeout: Optional[float] = None,
        connect_timeout: float = 5.0,
        reconnect: Union[bool, Reconnect] = True,
    ) -> "Client":
        """Connects to a runtime that runs, on its socket: found as the command line finds it where no `path` is given.

        Raises CrecheError with the tag `NoRuntime` where none answers, `OtherRuntime` where `data` names another's directory.
        With `reconnect` it comes back when the runtime does: reads, asks and tells (by an idempotency key that is made where
        none is given) are repeated, subscriptions go on without gap or duplicate; the rest fails with ConnectionLost.
        `timeout`: of each request, in seconds, where it has none of its own; by default there is none.
        """
        where, directory, shared = find_socket(path, data)

        def dial() -> _Link:
            connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
            try:
                connection.settimeout(connect_timeout)
                connection.connect(where)
                connection.settimeout(None)
            except OSError as error:
                connection.close()
                name = errno.errorcode.get(error.errno or 0, "ETIMEDOUT" if isinstance(error, sockets.timeout) else "unknown")
                hint = "; start one with `creche serve`" if name in ("ENOENT", "ECONNREFUSED") else ""
                told = {"tag": "NoRuntime", "socket": where, "errno": name}
                raise CrecheError(0, f"no runtime answers on {where}: {error}{hint}", told) from None
            link = _Link(_SocketPipe(connection))
            if shared:
                try:
                    number, call = link.send("runtime/info", {})
                    other = link.wait(number, call, "runtime/info", _Deadline(connect_timeout))["dataDirectory"]
                    if other != directory:
                        message = f"the runtime on {where} keeps its data in {other}, not in {directory}"
                        raise CrecheError(0, message, {"tag": "OtherRuntime", "socket": where, "dataDirectory": other})
                except BaseException:
                    link.close()
                    raise
            return link

        comes_back = Reconnect() if reconnect is True else (reconnect or None)
        return cls(dial, comes_back, timeout, owns=False)

    @classmethod
    def over_stdio(
        cls,
        command: Optional[Sequence[str]] = None,
        data: Optional[str] = None,
        *,
        timeout: Optional[float] = None,
        grace: float = 60.0,
        env: Optional[Mapping[str, str]] = None,
    ) -> "Client":
        """Starts a runtime of its own, `creche stdio` or the whole command line that is given, and ends it with `close`.

        `data`: its data directory, where what it does shall be kept; else it has one of its own, gone with it.
        `grace`: so many seconds it may take to stop its sessions at the end; then it is killed.
        Raises CrecheError with the tag `NoRuntime` where the command cannot be started. Its standard error is this program's.
        """
        line = [*(command or ["creche", "stdio", "--log-level", "warn"]), *([] if data is None else ["--data", data])]

        def dial() -> _Link:
            try:
                process = subprocess.Popen(
                    line,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    env=None if env is None else dict(env),
                )
            except OSError as error:
                told = {"tag": "NoRuntime", "command": line[0], "errno": errno.errorcode.get(error.errno or 0, "unknown")}
                raise CrecheError(0, f"no runtime: {line[0]} cannot be started: {error}", told) from None
            return _Link(_ProcessPipe(process, grace))

        return cls(dial, None, timeout, owns=True)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it: no thread, no descriptor and, over stdio, no process of it is left. What waits fails with ConnectionLost."""
        self._closed.set()
        # Whoever dials looks at `_closed` before and after.
        with self._dialling:
            self._link.close({"method": "runtime/shutdown", "params": {}} if self._owns else None)

    # Requests

    def request(self, method: str, params: Optional[Mapping[str, Json]] = None, *, timeout: Optional[float] = None) -> Json:
        """Any method of the contract by its name, with its params as docs/protocol.md has them; gives its result."""
        deadline = self._deadline(timeout)
        given = self._keyed(method, dict(params or {}))

        def act(link: _Link) -> Json:
            number, call = link.send(method, given)
            return link.wait(number, call, method, deadline)

        return self._repeat(act, deadline, self._is_repeatable(method, given), method)

    def start(self, spec: Optional[Mapping[str, Json]] = None, *, timeout: Optional[float] = None, **fields: Json) -> Session:
        """Starts a session; the fields are those of a SessionSpec, and `ifExists="return"` for one that may be there already."""
        result: Session = self.request("session/start", {**(spec or {}), **fields}, timeout=timeout)
        return result

    def ask(
        self,
        session: str,
        prompt: Prompt,
        *,
        attachments: Optional[Sequence[Mapping[str, Json]]] = None,
        timeout_ms: Optional[int] = None,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Turn:
        """Asks and waits for the turn to end; one that did not complete is a result too, with its `status` and `error`.

        `timeout_ms` ends the turn itself, `timeout` (seconds) only the waiting for it.
        """
        params = self._turn_params(session, prompt, attachments, timeout_ms, idempotency_key)
        result: Turn = self.request("session/ask", params, timeout=timeout)
        return result

    def ask_stream(
        self,
        session: str,
        prompt: Prompt,
        *,
        attachments: Optional[Sequence[Mapping[str, Json]]] = None,
        timeout_ms: Optional[int] = None,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> "TurnStream":
        """Asks, and gives the turn's entries as they come; after the loop the turn is in `.turn`.

        Nothing is sent before the first entry is asked for. Leaving the loop leaves the turn as it is; `cancel` ends it.
        """
        params = self._turn_params(session, prompt, attachments, timeout_ms, idempotency_key)
        return TurnStream(self, {**self._keyed("session/ask", params), "stream": True}, timeout)

    def tell(
        self,
        session: str,
        prompt: Prompt,
        *,
        attachments: Optional[Sequence[Mapping[str, Json]]] = None,
        timeout_ms: Optional[int] = None,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Turn:
        """Asks without waiting for the answer: gives the turn, queued, once it is durable. `wait` waits for its end."""
        params = self._turn_params(session, prompt, attachments, timeout_ms, idempotency_key)
        result: Turn = self.request("session/tell", params, timeout=timeout)
        return result

    def wait(self, turn: str, *, timeout_ms: Optional[int] = None, timeout: Optional[float] = None) -> Turn:
        """The turn once it ended, or as it stands after `timeout_ms`."""
        result: Turn = self.request("turn/wait", _known(turn=turn, timeoutMs=timeout_ms), timeout=timeout)
        return result

    def cancel(self, session: str, turn: Optional[str] = None, *, timeout: Optional[float] = None) -> Turn:
        """Cancels a turn, by default the running one; the session lives on."""
        result: Turn = self.request("session/cancel", _known(session=session, turn=turn), timeout=timeout)
        return result

    def answer(
        self,
        session: str,
        request: str,
        outcome: str,
        *,
        by: Optional[str] = None,
        result: Json = None,
        timeout: Optional[float] = None,
    ) -> Session:
        """Answers a permission request: `allow`, `allow_always`, `deny`, or an option's own id; the first answer wins."""
        params = _known(session=session, request=request, outcome=outcome, by=by, result=result)
        answered: Session = self.request("session/answer", params, timeout=timeout)
        return answered

    def get(self, session: str, *, timeout: Optional[float] = None) -> Session:
        """One session, by name, task or id."""
        result: Session = self.request("session/get", {"session": session}, timeout=timeout)
        return result

    def stop(self, session: str, *, mode: str = "graceful", timeout: Optional[float] = None) -> Session:
        """Ends its process, and answers once its last descendant is gone; the record stays. `mode`: `graceful` or `kill`."""
        result: Session = self.request("session/stop", {"session": session, "mode": mode}, timeout=timeout)
        return result

    def suspend(self, session: str, *, timeout: Optional[float] = None) -> Session:
        """Ends its process and keeps the session; the next turn wakes it."""
        result: Session = self.request("session/suspend", {"session": session}, timeout=timeout)
        return result

    def resume(self, session: str, *, timeout: Optional[float] = None) -> Session:
        """Starts a suspended session's process again."""
        result: Session = self.request("session/resume", {"session": session}, timeout=timeout)
        return result

    def restart(self, session: str, *, timeout: Optional[float] = None) -> Session:
        """Replaces its process, also of a stopped or failed session."""
        result: Session = self.request("session/restart", {"session": session}, timeout=timeout)
        return result

    def remove(self, session: str, *, timeout: Optional[float] = None) -> None:
        """Stops it and forgets it: record, transcript, own directory."""
        self.request("session/remove", {"session": session}, timeout=timeout)

    def search(
        self, query: str, *, session: Optional[str] = None, limit: Optional[int] = None, timeout: Optional[float] = None
    ) -> List[Dict[str, Json]]:
        """Turns whose prompt or answer holds every word, newest first: `{"turn", "snippet"}` each."""
        params = _known(query=query, session=session, limit=limit)
        hits: List[Dict[str, Json]] = self.request("session/search", params, timeout=timeout)["hits"]
        return hits

    # What comes page by page

    def sessions(self, *, page_size: int = 500, timeout: Optional[float] = None, **query: Json) -> Iterator[Session]:
        """Every session that matches (`status`, `tags`, `task`, `supervisor`), in order of creation."""
        cursor = None
        while True:
            params = {**query, **_known(limit=page_size, cursor=cursor)}
            page = self.request("session/list", params, timeout=timeout)
            yield from page["sessions"]
            cursor = page["nextCursor"]
            if cursor is None:
                return

    def history(
        self, session: str, *, before: Optional[int] = None, page_size: int = 100, timeout: Optional[float] = None
    ) -> Iterator[Turn]:
        """Every turn of the session, newest first, open ones among them."""
        while True:
            params = _known(session=session, before=before, limit=page_size)
            page = self.request("session/history", params, timeout=timeout)
            yield from page["turns"]
            before = page["nextBefore"]
            if before is None:
                return

    def transcript(
        self,
        session: str,
        *,
        after: int = 0,
        through: Optional[int] = None,
        types: Optional[Sequence[str]] = None,
        turn: Optional[str] = None,
        all: bool = False,
        page_size: int = 500,
        on_missed: Optional[Callable[[Dict[str, int]], None]] = None,
        timeout: Optional[float] = None,
    ) -> Iterator[Entry]:
        """Every entry that is there with `after` < seq ≤ `through`, in order, over all pages; `all`: from the archive too.

        `on_missed` is told `{"after", "through"}` of what is no longer kept, before the entries that follow it.
        """
        while through is None or after < through:
            params = _known(session=session, after=after, limit=page_size, types=types, turn=turn, all=all or None)
            page = self.request("session/transcript", params, timeout=timeout)
            gone = page["trimmed"] if through is None else min(page["trimmed"], through)
            if gone > after and on_missed is not None:
                on_missed({"after": after, "through": gone})
            for entry in page["entries"]:
                if through is not None and entry["seq"] > through:
                    return
                yield entry
            if page["nextAfter"] <= after or not page["entries"]:
                return
            after = page["nextAfter"]

    def subscribe(
        self,
        session: Optional[str] = None,
        *,
        after: Optional[int] = None,
        types: Optional[Sequence[str]] = None,
        timeout: Optional[float] = None,
    ) -> "Subscription":
        """First what is stored after `after`, then live, no gap and no duplicate; without `after` live ones alone.

        Before live ones come the permission requests that still wait. Without `session`: of every session. Iterate it; see Subscription. `timeout`: of subscribing.
        """
        return Subscription(self, session, after, types, self._deadline(timeout))

    # How it comes back

    def _deadline(self, timeout: Optional[float]) -> _Deadline:
        return _Deadline(self._timeout if timeout is None else timeout)

    @staticmethod
    def _turn_params(
        session: str,
        prompt: Prompt,
        attachments: Optional[Sequence[Mapping[str, Json]]],
        timeout_ms: Optional[int],
        key: Optional[str],
    ) -> Dict[str, Json]:
        return _known(session=session, prompt=prompt, attachments=attachments, timeoutMs=timeout_ms, idempotencyKey=key)

    def _keyed(self, method: str, params: Dict[str, Json]) -> Dict[str, Json]:
        if method in _TURNS and self._reconnect is not None:
            params.setdefault("idempotencyKey", str(uuid.uuid4()))
        return params

    def _is_repeatable(self, method: str, params: Mapping[str, Json]) -> bool:
        if method in _READS or method in _TURNS:
            return True
        names_it = params.get("name") is not None or params.get("task") is not None
        return method == "session/start" and params.get("ifExists") == "return" and names_it

    def _repeat(self, act: Callable[[_Link], Json], deadline: _Deadline, repeatable: bool, what: str) -> Json:
        """Until it is done, or fails by itself."""
        attempt = 0
        while True:
            # It may be this very request that the runtime does not survive.
            if attempt > 1:
                self._pause(attempt, deadline, what)
            link = self._live(deadline, repeatable, what)
            try:
                return act(link)
            except ConnectionLost as error:
                if self._closed.is_set() or self._reconnect is None:
                    raise
                # What was not sent can still be, over the next connection.
                if not repeatable and error.data.get("sent") is not False:
                    detail = f"the connection was lost before the answer came: {what} may have been done, and was not repeated"
                    raise ConnectionLost(detail, method=what, sent=True) from None
                attempt += 1
            except CrecheError as error:
                # The runtime still answers, and soon ends: its successor may take this.
                if error.tag != "Draining" or not repeatable or self._reconnect is None:
                    raise
                attempt = max(2, attempt + 1)

    def _pause(self, attempt: int, deadline: _Deadline, what: str) -> None:
        assert self._reconnect is not None
        pause = self._reconnect.pause(attempt)
        left = deadline.left
        self._closed.wait(pause if left is None else min(pause, left))
        if deadline.over:
            raise RequestTimeout(what, deadline.timeout)

    def _live(self, deadline: _Deadline, waits: bool, what: str) -> _Link:
        """The connection, or the next one; who may not wait for that is told so."""
        link = self._link
        if link.lost is None:
            return link
        if self._closed.is_set() or self._reconnect is None:
            raise ConnectionLost(str(link.lost), method=what, sent=False)
        away = f"the runtime is away: {what} was not sent, as it is not safe to repeat"
        left = deadline.left
        if not waits:
            if not self._dialling.acquire(blocking=False):
                raise ConnectionLost(away, method=what, sent=False)
        elif not self._dialling.acquire(timeout=-1 if left is None else left):
            raise RequestTimeout(what, deadline.timeout)
        try:
            if self._link.lost is None:
                return self._link
            until = _Deadline(self._reconnect.within)
            self._link.close()
            for attempt in itertools.count(1):
                if self._closed.is_set():
                    raise ConnectionLost("the connection to the runtime is over: this client closed it", method=what)
                try:
                    self._link = self._dial()
                    return self._link
                except CrecheError as error:
                    if not waits:
                        raise ConnectionLost(away, method=what, sent=False) from error
                    if until.over:
                        detail = f"the runtime did not come back within {until.timeout} s: {error}"
                        raise ConnectionLost(detail, method=what, sent=False) from None
                self._pause(attempt, deadline, what)
            raise AssertionError("unreachable")
        finally:
            self._dialling.release()


def _known(**params: Json) -> Dict[str, Json]:
    """Those that were given."""
    return {name: value for name, value in params.items() if value is not None}


class TurnStream(Iterator[Entry]):
    """The entries of one turn that was asked, each once, also when the runtime is replaced meanwhile. Made by `ask_stream`."""

    def __init__(self, client: Client, params: Dict[str, Json], timeout: Optional[float]) -> None:
        self._client = client
        #: The turn, once its last entry was given.
        self.turn: Optional[Turn] = None
        #: Ranges of entries that the session's limits had dropped before they could be read.
        self.missed: List[Dict[str, Json]] = []
        self._entries = self._run(params, client._deadline(timeout))

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> "TurnStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes no more of it; the turn goes on."""
        self._entries.close()  # type: ignore[attr-defined]

    def result(self) -> Turn:
        """Reads to the end and gives the turn."""
        for _ in self:
            pass
        if self.turn is None:
            raise ConnectionLost("the stream was closed before the turn ended")
        return self.turn

    def _run(self, params: Dict[str, Json], deadline: _Deadline) -> Iterator[Entry]:
        through = 0
        client = self._client

        def begin(link: _Link) -> Tuple[_Link, _Feed, int, _Call]:
            feed = link.feed()
            return (link, feed, *link.send("session/ask", params, feed))

        for attempt in itertools.count(1):
            if attempt > 2:
                client._pause(attempt, deadline, "session/ask")
            link, feed, number, call = client._repeat(begin, deadline, True, "session/ask")
            try:
                while True:
                    event = link.take(feed, deadline)
                    if event is None:
                        break
                    if "missed" in event:
                        self.missed.append(event["missed"])
                    elif event["entry"]["seq"] > through:
                        through = event["entry"]["seq"]
                        yield event["entry"]
                self.turn = link.wait(number, call, "session/ask", deadline)
                return
            except CrecheError as error:
                passes = error.tag in ("ConnectionLost", "Draining")
                if not passes or client._closed.is_set() or client._reconnect is None:
                    raise
                if error.tag == "Draining":
                    client._pause(2, deadline, "session/ask")
            finally:
                link.drop(feed, None, number)


class Subscription(Iterator[Dict[str, Json]]):
    """Events in order: `{"entry": …}`, or `{"missed": {"session", "after", "through"}}` where the session's limits had dropped
    entries before they could be read. Goes on over lost connections. Ends when the session is removed (`ending`)."""

    def __init__(
        self,
        client: Client,
        session: Optional[str],
        after: Optional[int],
        types: Optional[Sequence[str]],
        deadline: _Deadline,
    ) -> None:
        self._client = client
        #: Why there is no more: `removed`, `closed` or `lost`; None while events may come.
        self.ending: Optional[str] = None
        self._types = types
        #: The last seq seen, by the session's id.
        self._positions: Dict[str, int] = {}
        self._session: Optional[str] = None
        self._behind: Optional[Iterator[Dict[str, Json]]] = None
        self._returned = False

        def begin(link: _Link) -> Tuple[_Link, str, _Feed]:
            def call(method: str, params: Mapping[str, Json]) -> Json:
                return link.wait(*link.send(method, params), method, deadline)

            if session is None:
                cursor: Optional[str] = None
                while client._reconnect is not None:
                    page = call("session/list", _known(limit=1000, cursor=cursor))
                    for one in page["sessions"]:
                        self._reach(one["id"], one["seq"])
                    cursor = page["nextCursor"]
                    if cursor is None:
                        break
                return (link, *link.subscribe(_known(after=after, types=types), deadline))
            # By its id from here on: another session may get the name while the runtime is away.
            there = call("session/get", {"session": session})
            self._session = there["id"]
            fed = link.subscribe(_known(session=there["id"], after=after, types=types), deadline)
            self._reach(there["id"], there["seq"] if after is None else after)
            return (link, *fed)

        self._link, self._id, self._feed = client._repeat(begin, deadline, True, "session/subscribe")

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Dict[str, Json]:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: Optional[float] = None) -> Optional[Dict[str, Json]]:
        """The next event; None when there is no more. Raises RequestTimeout, and may be called again then."""
        deadline = _Deadline(timeout)
        while self.ending is None:
            if self._behind is not None:
                try:
                    event: Optional[Dict[str, Json]] = next(self._behind, None)
                except BaseException:
                    # It goes on from what was seen.
                    self._behind = self._meanwhile()
                    raise
                if event is None:
                    self._behind = None
                    continue
                self._see(event)
                return event
            event = self._link.take(self._feed, deadline)
            if event is not None:
                # Live entries of a session came with what it said meanwhile too.
                if self._returned and self._is_old(event):
                    continue
                self._see(event)
                return event
            why = self._feed.ending
            if why != "lost" or self._client._closed.is_set() or self._client._reconnect is None:
                self.ending = self.ending or why
                return None
            self._return(deadline)
        return None

    def close(self) -> None:
        """Ends the subscription; may be called from another thread, whose `next` then gives None."""
        self.ending = self.ending or "closed"
        self._link.drop(self._feed, self._id)

    def _return(self, deadline: _Deadline) -> None:
        params = _known(session=self._session, types=self._types)
        if self._session is not None:
            params["after"] = self._positions.get(self._session, 0)
        try:
            self._link, self._id, self._feed = self._client._repeat(
                lambda link: (link, *link.subscribe(params, deadline)), deadline, True, "session/subscribe"
            )
        except CrecheError as error:
            if isinstance(error, RequestTimeout):
                raise
            self.ending = "removed" if error.tag == "SessionNotFound" else "lost"
            if self.ending == "lost" and not self._client._closed.is_set():
                raise
            return
        self._returned = True
        if self.ending is not None:
            self.close()
        elif self._session is None:
            self._behind = self._meanwhile()

    def _meanwhile(self) -> Iterator[Dict[str, Json]]:
        """What all sessions said while nobody listened."""
        for session in self._client.sessions():
            name, through = session["id"], session["seq"]
            missed: List[Dict[str, int]] = []
            try:
                entries = self._client.transcript(
                    name,
                    after=self._positions.get(name, 0),
                    through=through,
                    types=self._types,
                    on_missed=missed.append,
                )
                for entry in entries:
                    while missed:
                        yield {"missed": {"session": name, **missed.pop(0)}}
                    yield {"entry": entry}
                while missed:
                    yield {"missed": {"session": name, **missed.pop(0)}}
            except CrecheError as error:
                if error.tag != "SessionNotFound":
                    raise
            self._reach(name, through)

    def _reach(self, session: str, seq: int) -> None:
        # Permission requests that still wait come first, with a seq of long ago.
        self._positions[session] = max(seq, self._positions.get(session, 0))

    def _see(self, event: Mapping[str, Json]) -> None:
        self._reach(*self._place(event))

    def _is_old(self, event: Mapping[str, Json]) -> bool:
        session, seq = self._place(event)
        return seq <= self._positions.get(session, 0)

    @staticmethod
    def _place(event: Mapping[str, Json]) -> Tuple[str, int]:
        if "entry" in event:
            return event["entry"]["session"], event["entry"]["seq"]
        return event["missed"]["session"], event["missed"]["through"]
