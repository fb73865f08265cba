"""DEBUG RELOAD: the data set through its file and back, while everybody waits."""

from node.persistence.host import PersistenceHost
from node.persistence.loader import LoadError, load_now
from node.persistence.saver import Saver


def reload(host: PersistenceHost, saver: Saver, *, save: bool = True, flush: bool = True, merge: bool = False) -> bool:
    """Save (unless not wanted), empty the databases (likewise), load. False, and a line in the log, if that failed.

    `merge`: keys of the file take the place of those that are there; without it, the file is refused if it holds any.
    """
    if save and not saver.save():
        return False
    if flush:
        for db in host.keyspace.databases:
            db.flush()
    try:
        loader = load_now(host, merge)
    except LoadError as error:
        host.log.warning(str(error))
        return False
    if loader is not None:
        host.log.warning("DB reloaded by DEBUG RELOAD")
        saver.data_set_loaded(loader.keys_loaded, loader.keys_expired)
        saver.look()
    return True
