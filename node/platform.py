"""The one door to the outside: clocks, luck, sockets, files, threads, the process.

Everything else is handed a `Platform` and asks it; a simulation hands in another one. Nothing in here decides
anything about Redis: it only does what it is told, and its errors are `OSError`.
"""

import errno
import faulthandler
import fcntl
import gc
import os
import queue
import random
import re
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property, partial
from typing import IO, Any, Protocol

import trio

from node.allocators import Allocated, Allocators, find_allocators

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
HUNG_UP = select.EPOLLRDHUP
"""What a poller watches a socket for, as bits of an int; errors and full hang-ups are always reported."""


class Socket(Protocol):
    """What the reactor needs of a connected, non-blocking socket."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | bytearray | memoryview, /) -> int: ...
    def close(self) -> None: ...


class Poller:
    """Readiness of many sockets behind one descriptor (epoll): Trio waits once for all of them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.register = self._epoll.register
        self.modify = self._epoll.modify
        self.unregister = self._epoll.unregister
        self.poll: Callable[[], list[tuple[int, int]]] = partial(self._epoll.poll, 0)
        """(descriptor, mask) of every socket that is ready now; never waits."""
        self.fileno = self._epoll.fileno

    async def wait(self) -> None:
        """Return once a socket is ready."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def close(self) -> None:
        self._epoll.close()


class Alarm:
    """Makes a poller return: rung by tasks that left work for the reactor."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Worker:
    """A thread of its own for one piece of blocking work after another, begun at once; `bell` rings when it is done.

    Through `Platform.in_thread` each piece costs four times as much: too dear where there are thousands a second.
    """

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None  # none before there is work: most nodes have no file
        self.bell = Alarm()  # rung by the thread
        self._is_done = True
        self._bug: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin with `work`; what was begun before must be done."""
        assert self._is_done
        self._is_done = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._todo.put(work)

    def is_done(self) -> bool:
        """The bell has rung: is the work done, or was it rung for the work before? Raises what the work raised."""
        self.bell.clear()
        if self._bug is not None:
            raise self._bug
        return self._is_done

    def _run(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                work()
            except BaseException as bug:
                self._bug = bug
            self._is_done = True
            self.bell.ring()

    def close(self) -> None:
        """End the thread, after what it is at."""
        if self._thread is not None:
            self._todo.put(None)
            self._thread.join()
        self.bell.close()


class Listener:
    """A bound, listening socket, TCP or Unix; `address` is what a person would type."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._socket = sock
        self.address = address
        self.is_unix = sock.family == socket.AF_UNIX
        self.is_tls = False  # set by whoever opened it: those who come begin with a handshake
        self.port = 0 if self.is_unix else int(sock.getsockname()[1])

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._socket)

    def accept(self) -> tuple["Connected", str, str] | None:
        """The next waiting connection with its peer's and its own address, or None if there is none.

        Raises OSError where the process has no descriptor left.
        """
        try:
            sock, peer = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        sock.setblocking(False)
        if self.is_unix:
            return sock, f"{self.address}:0", f"{self.address}:0"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, _address_text(peer), _address_text(sock.getsockname())

    def close(self) -> None:
        self._socket.close()


Connected = socket.socket


class LayeredSocket:
    """A `Socket` that speaks for another one and may hold bytes back that the other did not take: TLS."""

    __slots__ = ("below",)

    def __init__(self, below: Connected) -> None:
        self.below = below

    def fileno(self) -> int:
        return self.below.fileno()

    def recv(self, size: int, /) -> bytes:
        """Raises BlockingIOError when nothing came for the upper side, whatever the lower one received."""
        raise NotImplementedError

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """After BlockingIOError it wants to be called with the same bytes again: some are on their way."""
        raise NotImplementedError

    def send_soon(self, data: bytes) -> None:
        """Send a few bytes, and do not ask for them again; they may be dropped where others wait."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Send what is held back; True if nothing is any more. Raises OSError."""
        raise NotImplementedError

    def end_input(self) -> None:
        """Let the next `recv` tell the end, and a poller report it."""
        with suppress(OSError):
            self.below.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        raise NotImplementedError


def tcp_of(sock: Socket) -> socket.socket | None:
    """The kernel's socket below; None where there is none, as in a simulation."""
    if isinstance(sock, LayeredSocket):
        return sock.below
    return sock if isinstance(sock, socket.socket) else None


def _address_text(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def keep_alive(sock: Socket, seconds: int) -> None:
    """Let the kernel probe an idle connection after `seconds`, as Redis sets it; 0 leaves it off."""
    tcp = tcp_of(sock)
    if seconds <= 0 or tcp is None or tcp.family == socket.AF_UNIX:
        return
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


class Platform:
    """The real outside world of one node.

    Wall-clock times are integer milliseconds since 1970 (`now_ms`), spans are measured in nanoseconds of a monotonic
    clock (`clock_ns`), timers run on one of milliseconds (`monotonic_ms`), which a test may override to move time.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)
        self.clock_ns: Callable[[], int] = time.perf_counter_ns

    # --- time -----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Wall-clock time in microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic_ms(self) -> float:
        """Milliseconds of a clock that never jumps: the one that timers run on."""
        return time.monotonic_ns() / 1_000_000

    async def sleep_until_ms(self, when_ms: float) -> None:
        """Sleep until the monotonic clock shows `when_ms`."""
        await trio.sleep(max(0.0, when_ms - self.monotonic_ms()) / 1000)

    def local_time(self, now_ms: int) -> tuple[str, int]:
        """("26 Nov 2026 07:07:14", milliseconds): the local time as Redis's log prints it."""
        return time.strftime("%d %b %Y %H:%M:%S", time.localtime(now_ms // 1000)), now_ms % 1000

    def block(self, seconds: float) -> None:
        """Stop this whole process for a while: DEBUG SLEEP."""
        time.sleep(seconds)

    # --- luck -----------------------------------------------------------------------------------------------------

    def random_hex(self, length: int = 40) -> str:
        """`length` hex digits nobody can guess: run ids, node ids, replication ids."""
        return secrets.token_hex((length + 1) // 2)[:length]

    # --- sockets --------------------------------------------------------------------------------------------------

    def poller(self) -> Poller:
        return Poller()

    def alarm(self) -> Alarm:
        return Alarm()

    async def checkpoint(self) -> None:
        """Let the other tasks run."""
        await trio.lowlevel.checkpoint()

    def listen_tcp(self, host: str, port: int, backlog: int) -> Listener:
        """Listen on one address ("*" and "::*" mean all of IPv4 and of IPv6). Raises OSError."""
        ipv6 = ":" in host
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            name = {"*": "0.0.0.0", "::*": "::"}.get(host, host)
            info = socket.getaddrinfo(name, port, sock.family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
            sock.bind(info[0][4])
            sock.listen(backlog)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return Listener(sock, host)

    def listen_unix(self, path: str, mode: int, backlog: int) -> Listener:
        """Listen on a Unix socket. Raises OSError.

        It takes the place of whatever has its name, as in Redis: the socket of a process that died, or a temporary file
        by which somebody got himself the name.
        """
        self.remove_if_there(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
            if mode:
                os.chmod(path, mode)
            sock.listen(backlog)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return Listener(sock, path)

    async def resolve(self, name: str) -> list[str]:
        """The numeric addresses of a host, without doubles; a name is resolved in a thread. Raises OSError."""
        infos = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in infos))

    async def connect_tcp(self, host: str, port: int, source: str = "") -> Connected:
        """Open a connection; a name is resolved in a thread. Raises OSError."""
        infos = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failure: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
        for family, kind, protocol, _, address in infos:
            sock = trio.socket.socket(family, kind, protocol)
            try:
                if source:
                    await sock.bind((source, 0))
                await sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
                continue
            except BaseException:
                sock.close()
                raise
            raw = socket.socket(family, kind, protocol, fileno=sock.detach())
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return raw
        raise failure

    async def wait_readable(self, sock: Socket) -> None:
        """Return once a read of `sock` would not block; trio.ClosedResourceError if it is closed meanwhile."""
        await trio.lowlevel.wait_readable(sock.fileno())

    async def wait_writable(self, sock: Socket) -> None:
        """Return once a write to `sock` would not block; trio.ClosedResourceError if it is closed meanwhile."""
        await trio.lowlevel.wait_writable(sock.fileno())

    def addresses_of(self, sock: Socket) -> tuple[str, str]:
        """(peer's, own) address of a connected TCP socket as "ip:port"."""
        tcp = tcp_of(sock)
        assert tcp is not None
        return _address_text(tcp.getpeername()), _address_text(tcp.getsockname())

    def keep_alive(self, sock: Socket, seconds: int) -> None:
        keep_alive(sock, seconds)

    def resolve_now(self, host: str) -> str:
        """The IP address behind a name; empty if there is none. It may block for as long as the resolver does."""
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            return ""
        return str(infos[0][4][0]) if infos else ""

    # --- files ----------------------------------------------------------------------------------------------------

    def read_file(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def find_files(self, pattern: str) -> list[str]:
        """The paths that a name with wildcards stands for."""
        from glob import glob

        return sorted(glob(pattern))

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, in order. Raises OSError."""
        return sorted(os.listdir(path))

    def open_read(self, path: str) -> IO[bytes]:
        return open(path, "rb")

    def open_write(self, path: str) -> IO[bytes]:
        """A new file for writing, unbuffered; an old one of that name is emptied."""
        return open(path, "wb", buffering=0)

    def open_append(self, path: str) -> IO[bytes]:
        return open(path, "ab", buffering=0)

    def file_size(self, path: str) -> int:
        return os.stat(path).st_size

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new)

    def fsync(self, file: IO[bytes]) -> None:
        os.fsync(file.fileno())

    def fsync_data(self, file: IO[bytes]) -> None:
        """As `fsync`, but for what nobody needs to read the data again, such as the time of the change."""
        os.fdatasync(file.fileno())

    def truncate(self, file: IO[bytes], size: int) -> None:
        """Cut an open file to `size` bytes."""
        os.ftruncate(file.fileno(), size)

    def make_directory(self, path: str) -> None:
        """Make a directory, if it is not there. Raises OSError, also where something else has that name."""
        os.makedirs(path, mode=0o755, exist_ok=True)

    def fsync_directory(self, path: str) -> None:
        descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace_file(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Write a whole file so that a crash at any instant leaves the old one or the new one."""
        self._replace(path, data, durable, lambda _file: None).close()

    def replace_locked(self, path: str, data: bytes, *, durable: bool = True) -> IO[bytes]:
        """As `replace_file`, and return the new file, locked as by `lock_file` before it has the old one's name."""
        return self._replace(path, data, durable, lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))

    def _replace(self, path: str, data: bytes, durable: bool, prepare: Callable[[IO[bytes]], None]) -> IO[bytes]:
        temporary = f"{path}.tmp-{os.getpid()}-{self.now_ms()}"
        file = self.open_write(temporary)
        try:
            prepare(file)
            file.write(data)
            if durable:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            if durable:
                self.fsync_directory(os.path.dirname(path))
        except OSError:
            file.close()
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        return file

    def fsync_with_name(self, file: IO[bytes], path: str) -> None:
        """As `fsync`, and the `path` at which the file stands now becomes durable, too."""
        self.fsync(file)
        self.fsync_directory(os.path.dirname(path))

    def lock_file(self, path: str) -> IO[bytes]:
        """Open `path`, made if need be, and lock it against every other process. Raises BlockingIOError."""
        file = open(path, "ab")  # noqa: SIM115 - held open as long as the lock is
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
        return file

    def is_executable(self, path: str) -> bool:
        """Is there a program at `path` that this process may run?"""
        return os.access(path, os.X_OK) and os.path.isfile(path)

    def join_path(self, directory: str, name: str) -> str:
        return os.path.join(directory, name)

    def absolute_path(self, path: str) -> str:
        return os.path.abspath(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    # --- threads and tasks ----------------------------------------------------------------------------------------

    def lock(self) -> AbstractContextManager[Any]:
        """What one thread at a time may hold."""
        return threading.Lock()

    async def in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run blocking work (fsync, a big write) in a thread and return what it returned."""
        return await trio.to_thread.run_sync(work, *args)

    def worker(self) -> Worker:
        return Worker()

    async def start_program(self, argv: Sequence[str]) -> trio.Process:
        """Start another program with our environment and output, and nothing to read. Raises OSError."""
        return await trio.lowlevel.open_process(list(argv), stdin=subprocess.DEVNULL)

    # --- the process ----------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def compiler_version(self) -> str:
        """Of the compiler that made this Python: "12.2.0"."""
        found = re.search(r"(\d+\.\d+\.\d+)[^(]*\]", sys.version)
        return found[1] if found else "0.0.0"

    @property
    def program(self) -> str:
        """The absolute path of the program that was started."""
        return os.path.abspath(sys.argv[0])

    @property
    def executable(self) -> str:
        return sys.executable

    def exit_now(self, code: int) -> None:
        """End the process at once: nothing is flushed, no one is told."""
        os._exit(code)

    def write_out(self, text: str) -> None:
        """Print on standard output at once, unbuffered, so that a signal handler may do it too; nobody may listen."""
        with suppress(OSError):
            _write_all(1, text.encode("utf-8", "surrogateescape"))

    def write_error(self, text: str) -> None:
        """Print on standard error at once."""
        with suppress(OSError):
            _write_all(2, text.encode("utf-8", "surrogateescape"))

    def append_text(self, path: str, text: str) -> None:
        """Open a file, append to it and close it: whoever renames it meanwhile finds a new one. Raises OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(descriptor)

    def write_text(self, path: str, text: str) -> None:
        """Write a small file in place, neither atomic nor durable. Raises OSError."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def remove_if_there(self, path: str) -> None:
        """Remove a file; what cannot be removed stays."""
        with suppress(OSError):
            os.unlink(path)

    def listen_backlog_max(self) -> int:
        """The longest queue of a listener that the system grants; 0 if it does not tell."""
        try:
            with open("/proc/sys/net/core/somaxconn", "rb") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0

    def oom_score(self) -> int:
        """How readily the system ends this process where memory runs out. Raises OSError, ValueError."""
        with open("/proc/self/oom_score_adj", "rb") as file:
            return int(file.read())

    def set_oom_score(self, score: int) -> None:
        """See `oom_score`. Raises OSError: less than it is takes a right that few processes have."""
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"%d" % score)

    def cut_file(self, path: str, size: int) -> None:
        """Shorten a file for good. Raises OSError."""
        with open(path, "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def read_line(self) -> str:
        """The next line of standard input; "" at its end."""
        return sys.stdin.readline()

    def read_input(self) -> bytes:
        """All of standard input."""
        return sys.stdin.buffer.read()

    def is_terminal(self) -> bool:
        """Does a person see standard output?"""
        return os.isatty(1)

    def environment(self, name: str) -> str:
        """A variable of the environment; "" if it is not set."""
        return os.environ.get(name, "")

    def forget_environment(self, name: str) -> None:
        """Let nobody below see a variable."""
        os.environ.pop(name, None)

    def stop_self(self) -> None:
        """Stop until somebody sends SIGCONT."""
        signal.raise_signal(signal.SIGSTOP)

    def notify_supervisor(self, address: str, text: str) -> None:
        """Tell systemd something: a datagram to its socket (`sd_notify`). Raises OSError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)

    def open_syslog(self, ident: str, facility: str) -> Callable[[str, str], None]:
        """What writes (level, line) to the system's log; facilities and levels are Redis's words."""
        import syslog

        syslog.openlog(ident, syslog.LOG_PID | syslog.LOG_NDELAY | syslog.LOG_NOWAIT, _syslog_number(facility))
        levels = {"debug": "DEBUG", "verbose": "INFO", "notice": "NOTICE", "warning": "WARNING"}
        return lambda level, line: syslog.syslog(_syslog_number(levels[level]), line)

    def name_process(self, name: str) -> None:
        """The name that `ps -o comm` and `top` show, cut at 15 bytes by the kernel."""
        with suppress(OSError), open("/proc/self/comm", "wb") as file:
            file.write(name.encode())

    def change_directory(self, path: str) -> None:
        os.chdir(path)

    def current_directory(self) -> str:
        return os.getcwd()

    def descriptor_limit(self) -> int:
        """How many open descriptors this process may have."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def raise_descriptor_limit(self, wanted: int) -> int:
        """Ask for `wanted` open descriptors; how many there may be now."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft >= wanted:
            return soft
        for limit in (max(hard, wanted), hard):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, limit), limit))
                break
            except (OSError, ValueError):
                continue
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def cpu_times(self) -> tuple[float, float]:
        """(user, system) CPU seconds of this process."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime, usage.ru_stime

    def thread_cpu_times(self) -> tuple[float, float]:
        """(user, system) CPU seconds of the calling thread."""
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return usage.ru_utime, usage.ru_stime

    def resident_bytes(self) -> int:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def allocated(self) -> Allocated:
        """What the allocators of the process have in use, and what they hold of the system for it."""
        if self._allocators is not None:
            return self._allocators.allocated()
        resident = self.resident_bytes()
        return Allocated(resident, resident)

    def allocators_report(self) -> str:
        """The allocators' own books, for people; empty where they cannot be asked."""
        return "" if self._allocators is None else self._allocators.report()

    def trim_memory(self) -> None:
        """Give free memory back to the system, as far as the allocators can."""
        if self._allocators is not None:
            self._allocators.trim()

    @cached_property
    def _allocators(self) -> Allocators | None:
        return find_allocators()

    def total_memory_bytes(self) -> int:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def system_name(self) -> str:
        """As INFO's `os` line: "Linux 6.1.0 x86_64"."""
        name = os.uname()
        return f"{name.sysname} {name.release} {name.machine}"

    def detach_from_terminal(self) -> None:
        """Become a daemon: the parent exits, standard streams go to /dev/null."""
        if os.fork():
            os._exit(0)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        if null > 2:
            os.close(null)

    def close_inherited_descriptors(self) -> None:
        """Keep nothing but 0, 1 and 2 of what the parent left open: it may wait for the end of a pipe."""
        try:
            last = max(map(int, os.listdir("/proc/self/fd")))
        except OSError:  # /proc is not mounted
            last, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.closerange(3, last + 1)

    def settle_memory(self) -> None:
        """Freeze what has been built so far, so that no later collection walks it."""
        gc.collect(0)
        gc.freeze()

    def tame_collector(self) -> None:
        """Only ever collect the young: a full collection over millions of containers would stall the loop."""
        gc.set_threshold(10_000, 50, 1_000_000)

    @contextmanager
    def on_signals(self, handle: Callable[[int], None], *numbers: int) -> Iterator[None]:
        """While this holds, `handle(number)` is called for each of these signals, in the midst of whatever runs."""
        old = [signal.signal(number, lambda received, _frame: handle(received)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, old, strict=True):
                signal.signal(number, handler)

    def soon(self) -> Callable[[Callable[[], None]], None]:
        """What lets the running node call something soon; to be called from signal handlers and threads."""
        token = trio.lowlevel.current_trio_token()
        return lambda call: token.run_sync_soon(call)

    def set_alarm(self, seconds: float) -> None:
        """Send this process SIGALRM after this time, instead of what was set before; 0: do not."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def raise_signal(self, number: int) -> None:
        """Let this process get a signal."""
        signal.raise_signal(number)

    def end_by_signal(self, number: int) -> None:
        """Let a signal do what it does to a process that handles none."""
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def report_faults(self, path: str) -> None:
        """Let a fault in C code leave a traceback behind: in this file, or on standard output if there is none."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        faulthandler.enable(os.open(path, flags, 0o666) if path else 1)

    def stacks(self) -> str:
        """Where each thread is just now."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return "\n".join(
            f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}"
            for ident, frame in sys._current_frames().items()
        )

    def ignore_signals(self) -> None:
        """SIGHUP and SIGPIPE never end a node, as in Redis."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _syslog_number(name: str) -> int:
    import syslog

    return int(getattr(syslog, f"LOG_{name.upper()}"))


SIGTERM, SIGINT = int(signal.SIGTERM), int(signal.SIGINT)
SIGABRT, SIGALRM, SIGSEGV = int(signal.SIGABRT), int(signal.SIGALRM), int(signal.SIGSEGV)
