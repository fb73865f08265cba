#!/usr/bin/env python3
"""Delays or drops the packets that an iptables rule sends to an NFQUEUE: what `tc netem` does, for
kernels without sch_netem. Needs CAP_NET_ADMIN in the network namespace it runs in.

    iptables -A OUTPUT -p tcp --dport 6379 -j NFQUEUE --queue-num 1 --queue-bypass
    nfdelay --queue 1 --delay-ms 50 --jitter-ms 10 --loss 0.02

With --queue-bypass packets pass untouched once this program has ended.
"""

import argparse
import heapq
import random
import select
import socket
import struct
import time

NETLINK_NETFILTER, SUBSYS_QUEUE = 12, 3
PACKET, VERDICT, CONFIG = (SUBSYS_QUEUE << 8 | n for n in range(3))
DROP, ACCEPT = 0, 1


def attr(kind, data):
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def message(kind, queue, attrs, flags=1):
    body = struct.pack("!BBH", 0, 0, queue) + attrs
    return struct.pack("=LHHLL", 16 + len(body), kind, flags, 0, 0) + body


def packet_ids(data):
    """The ids of the queued packets that one netlink datagram announces."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=LH", data)
        if kind == PACKET:
            at = 20
            while at + 4 <= length:
                size, name = struct.unpack_from("=HH", data, at)
                if name & 0x7FFF == 1:  # NFQA_PACKET_HDR
                    yield struct.unpack_from("!L", data, at + 4)[0]
                at += (size + 3) & ~3
        elif kind == 2:  # NLMSG_ERROR
            code = struct.unpack_from("=l", data, 16)[0]
            if code:
                raise OSError(-code, "netlink refused")
        data = data[(length + 3) & ~3 :]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queue", type=int, default=1)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--jitter-ms", type=float, default=0)
    parser.add_argument("--loss", type=float, default=0, help="0..1")
    args = parser.parse_args()

    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    bind = attr(1, struct.pack("!BBH", 1, 0, 0))  # NFQA_CFG_CMD: NFQNL_CFG_CMD_BIND
    copy = attr(2, struct.pack("!LB", 0, 1))  # NFQA_CFG_PARAMS: metadata only
    room = attr(3, struct.pack("!L", 20000))  # NFQA_CFG_QUEUE_MAXLEN
    sock.send(message(CONFIG, args.queue, bind, flags=5))  # asks for an acknowledgement
    list(packet_ids(sock.recv(65536)))
    sock.send(message(CONFIG, args.queue, copy + room))
    print("ready", flush=True)

    due = []
    while True:
        wait = max(0, due[0][0] - time.monotonic()) if due else None
        if select.select([sock], [], [], wait)[0]:
            now = time.monotonic()
            for pid in packet_ids(sock.recv(1 << 20)):
                verdict = DROP if random.random() < args.loss else ACCEPT
                spread = random.uniform(-args.jitter_ms, args.jitter_ms)
                heapq.heappush(due, (now + max(0, args.delay_ms + spread) / 1000, pid, verdict))
        while due and due[0][0] <= time.monotonic():
            _, pid, verdict = heapq.heappop(due)
            sock.send(message(VERDICT, args.queue, attr(2, struct.pack("!LL", verdict, pid))))


if __name__ == "__main__":
    main()
