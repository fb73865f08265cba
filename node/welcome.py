"""The drawing with which a node greets a person at a terminal: six nodes, and who this one is."""

DRAWING = r"""
             __
          __/  \__          Hexad {hexad}, as Redis {redis} (64 bit)
         /  \__/  \
         \__/  \__/         Running in {mode} mode
         /  \__/  \         Port: {port}
         \__/  \__/         PID: {pid}
            \__/

"""


def logo(hexad: str, redis: str, mode: str, port: int, pid: int) -> str:
    """The drawing; `mode` is standalone or cluster."""
    return DRAWING.format(hexad=hexad, redis=redis, mode=mode, port=port, pid=pid)
