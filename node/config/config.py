"""Config: the value of every directive, and the only ways to change it.

`load` reads file, standard input and command line, in this order, the last word winning; `set` is CONFIG SET, all
or none; `get` is CONFIG GET; `rewrite` is CONFIG REWRITE.  The hot code reads typed values as attributes.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from node.config.coming import MODULES_REFUSED, REFUSED, refusal
from node.config.directives import ALIASES, DIRECTIVES, FORGOTTEN, Directive, find_directive
from node.config.errors import ConfigError, ConfigFileError, ConfigSetError
from node.config.lines import FindFiles, Line, ReadFile, follow_includes, matching_paths, read_lines, read_text
from node.config.networks import check_networks
from node.config.rewrite import rewrite_text
from node.config.settings import Settings
from node.config.values import CLIENT_CLASSES, OutputLimit, Value, parse, parse_text, show, write
from node.config.words import words_within
from node.config.yaml import is_yaml, read_yaml
from node.glob import compile_glob

HZ_MIN, HZ_MAX = 1, 500
SENTINEL_PORT = 26379
REPL_BACKLOG_BYTES_MIN = 16 * 1024

Apply = Callable[[Value], None]
Check = Callable[[Any], None]
"""What looks at a value, or at the words of a line, before it is taken; it may raise ConfigError."""
WantedLines = Iterable[tuple[str, list[tuple[str, bool]]]]


def _defaults() -> dict[str, Value]:
    no_limits = dict.fromkeys(CLIENT_CLASSES, OutputLimit(0, 0, 0))
    return {
        name: parse_text(directive, directive.default, no_limits)
        if directive.default or directive.kind in ("string", "addresses", "networks")
        else None
        if directive.kind == "replicaof"
        else ""
        for name, directive in DIRECTIVES.items()
    }


DEFAULTS: Mapping[str, Value] = _defaults()

_ATTRIBUTES = {name: directive.attribute for name, directive in chain(DIRECTIVES.items(), ALIASES.items())}


class Config(Settings):
    """The configuration of one node; a new one holds Redis's defaults."""

    def __init__(self) -> None:
        self._appliers: dict[str, list[Apply]] = {}
        self.is_sentinel = False  # it is a Sentinel's: there is no data to save
        self.user_lines: list[list[str]] = []  # name and rules, for each `user` line
        self.renamed_commands: list[tuple[str, str]] = []  # old and new name, for each `rename-command` line
        self.describe_users: Callable[[], list[str]] = self._only_user
        """The `user` lines that CONFIG REWRITE writes: handed in by who knows the users of a running node."""
        for name, value in DEFAULTS.items():
            self.put(name, value)

    @classmethod
    def load(
        cls,
        path: str | None = None,
        *,
        stdin: str | None = None,
        options: str | None = None,
        read_file: ReadFile,
        find_files: FindFiles,
        checks: Mapping[str, Check] | None = None,
        sentinel_lines: list[Line] | None = None,
    ) -> "Config":
        """The configuration from the file, the text of standard input and the lines of the command line.

        `read_file(path)` raises OSError, `find_files(pattern)` lists what a name with wildcards stands for.
        `checks[name](value)` is called as soon as a line sets `name` and may raise ConfigError (a `dir` that is not
        there); for `user` and `rename-command` with the words that follow.  `sentinel_lines` makes it a Sentinel's
        configuration: it gets its `sentinel` lines.  Raises ConfigFileError.
        """
        config = cls()
        if sentinel_lines is not None:
            config.put("port", SENTINEL_PORT)
            config.put("protected-mode", False)
            config.put("save", ())
            config.is_sentinel = True
        lines = _main_lines(path, stdin, options, read_file, find_files)
        _Loader(config, checks or {}, sentinel_lines).load(follow_includes(lines, read_file, find_files))
        return config

    def __getitem__(self, name: str) -> Value:
        """The typed value of a directive by its name or old name, in small letters.  Raises KeyError."""
        return self.__dict__[_ATTRIBUTES[name]]

    def put(self, name: str, value: Value) -> None:
        """Give a directive a typed value without any check, as REPLICAOF does for `replicaof`."""
        self.__dict__[DIRECTIVES[name].attribute] = value

    def text(self, name: str) -> str:
        """The value as CONFIG GET prints it.  Raises KeyError."""
        directive = find_directive(name)
        if directive is None:
            raise KeyError(name)
        return show(directive, self[directive.name])

    def on_change(self, name: str, apply: Apply) -> None:
        """Have `apply(value)` called when CONFIG SET changed the value.

        It may raise ConfigError; then all is as before, and what was applied is applied again with the old values.
        """
        self._appliers.setdefault(DIRECTIVES[name].name, []).append(apply)

    def get(self, patterns: Iterable[str]) -> dict[str, str]:
        """Name -> text of the directives that match any of the patterns, old names too.

        A pattern without `*`, `?` and `[` is a name, shown as it was written, and finds hidden directives as well.
        """
        found: dict[str, str] = {}
        seen: set[str] = set()
        for pattern in patterns:
            for name in _matching_names(pattern):
                if name.lower() not in seen:
                    seen.add(name.lower())
                    found[name] = self.text(name)
        return found

    def set(self, pairs: Iterable[tuple[str, str]], *, is_local: bool = False, is_loading: bool = False) -> None:
        """Set all pairs of name and text, or none.  Raises ConfigSetError with the whole error reply.

        `is_local` tells that the client is on this host, `is_loading` that the data set is being loaded.
        """
        changes = self._check_names(list(pairs), is_local, is_loading)
        before = {directive.name: self[directive.name] for _, directive, _ in changes}
        again = {directive.name for _, directive, _ in changes if directive.is_volatile}
        for name, directive, text in changes:
            try:
                self.put(directive.name, self._new_value(directive, text))
            except ConfigError as error:
                self._put_all(before)
                raise _set_failed(name, error.reason) from None
        self._apply({directive.name: name for name, directive, _ in changes}, before, again)

    def rewrite(self, old_text: str, more: WantedLines = (), *, everything: bool = False) -> str:
        """The text of the configuration file as CONFIG REWRITE makes it from the old one; `more` wanted lines last.

        everything -- what has its default value is written, too.
        """
        wanted = self._wanted_lines()
        if everything:
            wanted = ((name, [(line, True) for line, _ in lines]) for name, lines in wanted)
        return rewrite_text(old_text, chain(wanted, more))

    def _only_user(self) -> list[str]:
        """The line of the user that there is where nothing else is said."""
        return [" ".join(["user default on", *self._default_user_secret(), "~* &* +@all"])]

    def _default_user_secret(self) -> list[str]:
        if not self.requirepass:
            return ["nopass", "sanitize-payload"]
        from hashlib import sha256

        return ["sanitize-payload", "#" + sha256(self.requirepass.encode(errors="surrogateescape")).hexdigest()]

    def _check_names(
        self, pairs: list[tuple[str, str]], is_local: bool, is_loading: bool
    ) -> list[tuple[str, Directive, str]]:
        """The pairs with their directives.  Raises ConfigSetError if one of them may not be set at all."""
        seen: dict[str, None] = {}
        changes = []
        allows_protected = self.enable_protected_configs
        for name, text in pairs:
            directive = find_directive(name)
            if directive is None:
                raise ConfigSetError(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            if directive.is_immutable:
                raise _set_failed(name, "can't set immutable config")
            if "protected" in directive.flags and not (
                allows_protected == "yes" or (allows_protected == "local" and is_local)
            ):
                raise _set_failed(name, "can't set protected config")
            if is_loading and "not-while-loading" in directive.flags:
                raise ConfigSetError("LOADING Redis is loading the dataset in memory")
            if name.lower() in seen:
                raise _set_failed(name, "duplicate parameter")
            seen[name.lower()] = None
            changes.append((name.lower(), directive, text))
        return changes

    def _new_value(self, directive: Directive, text: str) -> Value:
        value = _settle(directive.name, parse_text(directive, text, self[directive.name]))
        if directive.name in REFUSED and value != DEFAULTS[directive.name]:
            raise ConfigError(refusal(directive.name))
        if directive.name == "repl-backlog-size":
            value = max(value, REPL_BACKLOG_BYTES_MIN)
        return value

    def _apply(self, given_names: dict[str, str], before: dict[str, Value], again: Container[str]) -> None:
        applied: list[str] = []
        for name, old in before.items():
            if self[name] == old and name not in again:
                continue
            applied.append(name)
            try:
                for apply in self._appliers.get(name, ()):
                    apply(self[name])
            except ConfigError as error:
                self._put_all(before)
                self._apply_again(applied)
                raise _set_failed(given_names[name], error.reason) from None

    def _apply_again(self, names: list[str]) -> None:
        """Bring back what was applied; the old values worked before, so a refusal now has nowhere to go."""
        for name in names:
            for apply in self._appliers.get(name, ()):
                try:
                    apply(self[name])
                except ConfigError:
                    continue

    def _put_all(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            self.put(name, value)

    def _wanted_lines(self) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
        for name, directive in DIRECTIVES.items():
            is_told_elsewhere = name == "replicaof" and self.cluster_enabled  # by the cluster's own file
            is_told_elsewhere = is_told_elsewhere or (name == "save" and self.is_sentinel)
            yield name, [] if is_told_elsewhere else write(directive, self[name], DEFAULTS[name])
        yield "user", [] if self.aclfile else [(line, True) for line in self.describe_users()]
        yield "loadmodule", []


class _Loader:
    """Takes the lines of a start one by one; checks at the end what depends on all of them."""

    def __init__(self, config: Config, checks: Mapping[str, Check], sentinel_lines: list[Line] | None) -> None:
        self.config, self.checks, self.sentinel_lines = config, checks, sentinel_lines
        self.origins: dict[str, Line] = {}

    def load(self, lines: Iterable[Line]) -> None:
        for line in lines:
            try:
                self.take(line)
            except ConfigError as error:
                raise ConfigFileError(error.reason, line.number, line.text) from None
        self.finish()

    def take(self, line: Line) -> None:
        name, *words = line.words
        if words and self.sentinel_lines is not None and name.lower() == "sentinel":
            self.sentinel_lines.append(line)
            return None
        directive = find_directive(name)
        if directive is None:
            return self.take_other(name.lower(), words)
        if directive.is_multi_arg and len(words) == 1 and words[0]:  # one quoted word may hold them all
            words = words_within(words[0])
        is_empty = directive.is_multi_arg and words == [""]
        if is_empty:
            words = []
        value = parse(directive, words, self.config[directive.name])
        if directive.name == "save" and not is_empty and "save" in self.origins:
            value = self.config.save + value
        if directive.kind == "networks" and words and directive.name in self.origins:
            value = (*self.config[directive.name], *value)
            check_networks(value)
        self.check(directive.name, value)
        self.config.put(directive.name, _settle(directive.name, value))
        self.origins[directive.name] = line

    def take_other(self, name: str, words: list[str]) -> None:
        if name in FORGOTTEN and len(words) == 1:
            return
        if name == "rename-command" and len(words) == 2:
            self.check(name, words)
            self.config.renamed_commands.append((words[0], words[1]))
        elif name == "user" and words:
            if any(words[0] == known[0] for known in self.config.user_lines):
                reason = "Duplicate user found. A user can only be defined once in config files"
                raise ConfigError(f"Error in user declaration '{words[0]}': {reason}")
            self.check(name, words)
            self.config.user_lines.append(words)
        elif name == "loadmodule" and words:
            raise ConfigError(MODULES_REFUSED)
        elif "." in name:
            reason = "Module Configuration detected without loadmodule directive or no ApplyConfig call: aborting"
            raise ConfigError(reason if words else "Module config specified without value")
        elif name == "sentinel":
            if words:
                raise ConfigError("sentinel directive while not in sentinel mode")
        else:
            raise ConfigError("Bad directive or wrong number of arguments")

    def check(self, name: str, value: Any) -> None:
        """Let whoever knows more than the configuration have a look."""
        if name in self.checks:
            self.checks[name](value)

    def finish(self) -> None:
        for name in REFUSED:
            if self.config[name] != DEFAULTS[name]:
                line = self.origins[name]
                raise ConfigFileError(refusal(name), line.number, line.text)
        if self.config.cluster_enabled and self.config.replicaof:
            raise ConfigFileError("replicaof directive not allowed in cluster mode")


def _main_lines(
    path: str | None, stdin: str | None, options: str | None, read_file: ReadFile, find_files: FindFiles
) -> Iterator[Line]:
    """The lines of the main file, then of standard input, then of the command line, numbered through."""
    paths = matching_paths(path, find_files) if path is not None else []
    texts = [read_text(each, read_file) for each in paths]
    tail = (stdin or "") + ("\n" + options if options is not None else "")
    if path is not None and is_yaml(path):
        rows = sum(text.count("\n") + 1 for text in texts)
        return chain(chain.from_iterable(map(read_yaml, texts)), read_lines(tail, rows + 1))
    return read_lines("".join(texts) + tail)


def _matching_names(pattern: str) -> Iterator[str]:
    if not any(char in pattern for char in "*?["):
        if find_directive(pattern) is not None:
            yield pattern
        return
    matches = compile_glob(pattern.encode(errors="surrogateescape"), nocase=True)
    for directive in DIRECTIVES.values():
        name = directive.name
        if directive.is_hidden:
            continue
        if matches(name.encode()):
            yield name
        if directive.alias and matches(directive.alias.encode()):
            yield directive.alias


def _settle(name: str, value: Value) -> Value:
    """What becomes of a value that Redis takes but does not keep as it is."""
    return min(max(value, HZ_MIN), HZ_MAX) if name == "hz" else value


def _set_failed(name: str, reason: str) -> ConfigSetError:
    return ConfigSetError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")


assert set(REFUSED) <= set(DIRECTIVES)
