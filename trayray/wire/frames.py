"""Length-prefixed frames of msgpack-encoded message batches, without I/O.

A frame is a 4-byte little-endian length and a msgpack array of messages. Batching is the point: one frame carries
everything that was ready when it was sent. Not here: which messages exist (``messages``) and sockets (``link``).
"""

import struct
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

M = TypeVar("M")

#: A peer that announces a larger frame is broken or hostile; the link is closed. Values above the inline limit travel
#: through shared memory, so honest frames are far smaller.
MAX_FRAME_BYTES = 256 * 1024 * 1024

_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()


class FrameError(Exception):
    """The peer sent bytes that are no frame of this link's protocol; the link cannot be used any further."""


def encode_frame(messages: Sequence[Any]) -> bytes:
    """One frame that carries ``messages`` in order."""
    body = _encoder.encode(messages)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(
            f"a frame of {len(body)} bytes exceeds the limit of {MAX_FRAME_BYTES} bytes; "
            "pass large values as objects (put) instead of inline"
        )
    return _LENGTH.pack(len(body)) + body


class FrameDecoder(Generic[M]):
    """Turns a byte stream into messages; feed it whatever arrived."""

    def __init__(self, message_type: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[M]] = msgspec.msgpack.Decoder(list[message_type])
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """Messages completed by ``data``.

        Raises:
            FrameError: the stream is not one of this protocol.
        """
        buffer = self._buffer
        if not buffer and len(data) >= 4:
            (length,) = _LENGTH.unpack_from(data)
            if len(data) == length + 4:  # the common case: exactly one frame, no copy
                return self._decode(memoryview(data)[4:])
        buffer += data
        messages: list[M] = []
        start = 0
        view = memoryview(buffer)
        try:
            while len(buffer) - start >= 4:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > MAX_FRAME_BYTES:
                    raise FrameError(f"frame of {length} bytes announced, the limit is {MAX_FRAME_BYTES}")
                if len(buffer) - start - 4 < length:
                    break
                messages += self._decode(view[start + 4 : start + 4 + length])
                start += 4 + length
        finally:
            view.release()
        if start:
            del buffer[:start]
        return messages

    def _decode(self, body: memoryview) -> list[M]:
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FrameError(f"undecodable frame: {error}") from error
