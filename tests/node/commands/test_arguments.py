"""Whatever a client says to these families, the node answers and stays whole: exactly one reply, never an exception."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node import app
from node.commands import families
from node.config import Config
from node.log import Log
from node.net.peer import OPEN
from node.net.resp import Argv
from node.platform import Platform
from node.server import Server
from tests.support import encode

MODULES = ("node.commands.connection", "node.commands.client", "node.commands.command")
NAMES = sorted(spec.name for spec in families.specs() if spec.run.__module__ in MODULES)
WORDS = (
    b"on off skip yes no timeout error write all id addr laddr user type skipme normal pubsub master auth setname "
    b"default filterby aclcat pattern module lib-name lib-ver get set client|kill 0 1 2 3 -1 9223372036854775807 "
    b"127.0.0.1:1 *"
).split()

arguments = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)), max_size=6)


def build() -> Server:
    platform = Platform()
    return app.build(platform, Config(), Log(platform, lambda _text: None))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), arguments), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_any_arguments(lines: list[tuple[str, Argv]], resp3: bool, locked: bool) -> None:
    server = build()
    if locked:
        server.config.set([("requirepass", "sesame")])
    try:
        for name, words in lines:
            session = server.new_session("1.2.3.4:5", "127.0.0.1:6379")
            session.resp3 = resp3
            server.new_session()
            session.receive(encode(*name.encode().split(b"|"), *words))
            quiet = session.reply_mode != b"on" or session.parked is not None
            assert quiet == (not session.out) or session.closing != OPEN
            for client in server.sessions.values():
                server.clients.describe(client)
            server.clients.unpause("client")
            assert not server.clients.postponed
    finally:
        server.reactor.close()
