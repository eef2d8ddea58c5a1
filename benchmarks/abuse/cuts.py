"""Connections that end at a random moment."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time

import grpc

from benchmarks.abuse import rest, rpc

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SLOW = b'{"instances": [1.0]}'


def cut_rest(rng: random.Random, address: tuple[str, int]) -> None:
    """A request that is cut in its headers, in its body, or while it waits for the answer."""
    sent = rest.good(rng) if rng.random() < 0.7 else rest.post("slow:predict", _SLOW)
    head = sent.index(b"\r\n\r\n")
    stop = rng.choice((0, rng.randint(1, head), rng.randint(head, len(sent)), len(sent), len(sent)))
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=60) as connection:
        connection.sendall(sent[:stop])
        _leave(rng, connection)


def cut_grpc(rng: random.Random, address: tuple[str, int]) -> None:
    """A call that is cancelled, or a connection that stops to speak HTTP/2, or never begins to."""
    if rng.random() < 0.5:
        sent = rng.choice((_PREFACE, b"\x16\x03\x01\x02\0\1\0\1", b"GET / HTTP/1.1\r\n\r\n"))
        sent = sent[: rng.randint(0, len(sent))]
        if rng.random() < 0.5:
            sent = _PREFACE + rng.randbytes(rng.choice((1, 9, 100, 5000)))
        with (
            contextlib.suppress(OSError),
            socket.create_connection(address, timeout=60) as connection,
        ):
            connection.sendall(sent)
            _leave(rng, connection)
        return
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"{address[0]}:{address[1]}", options) as channel:
        for _ in range(rng.randint(1, 3)):
            method, message = rpc.good(rng, rng.choice(("half", "slow")))
            call = channel.unary_unary(method).future(message, timeout=60)
            time.sleep(rng.choice((0.0, 0.0, 0.001, 0.01)))
            if rng.random() < 0.7:
                call.cancel()


def _leave(rng: random.Random, connection: socket.socket) -> None:
    time.sleep(rng.choice((0.0, 0.0, 0.0, 0.001, 0.005)))
    if rng.random() < 0.3:
        connection.settimeout(0.005)
        with contextlib.suppress(TimeoutError):
            connection.recv(rng.choice((1, 20, 1000)))
    if rng.random() < 0.5:  # a reset instead of an end
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
