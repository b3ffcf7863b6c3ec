import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.loan_messages import Borrow, Borrowed, Release
from trayray.wire import frames
from trayray.wire.frames import FrameDecoder, FrameError, encode_frame
from trayray.wire.peer_messages import PeerMessage, Ready, Want
from trayray.wire.values import Value

messages = st.one_of(
    st.builds(
        Borrow,
        st.integers(1, 2**40),
        st.lists(st.binary(max_size=28), max_size=3),
        st.text(max_size=5),
        st.integers(0, 2**40),
    ),
    st.builds(Borrowed, st.integers(0, 2**40)),
    st.builds(
        Release,
        st.integers(1, 2**40),
        st.lists(
            st.tuples(
                st.binary(max_size=28),
                st.integers(0, 5),
                st.lists(st.tuples(st.text(max_size=5), st.integers(1, 5)), max_size=2).map(tuple),
            ),
            max_size=3,
        ),
    ),
    st.builds(Ready, st.binary(max_size=28), st.none() | st.builds(Value, st.just(0), st.binary(max_size=300))),
)


def decoder() -> FrameDecoder:
    return FrameDecoder(PeerMessage)


@given(batches=st.lists(st.lists(messages, max_size=4), max_size=6), data=st.data())
def test_any_split_of_the_bytes_gives_the_same_messages(batches, data):
    stream = b"".join(encode_frame(batch) for batch in batches)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12), label="cuts"))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    receiving = decoder()
    received = [message for piece in pieces for message in receiving.feed(piece)]

    assert received == [message for batch in batches for message in batch]


@given(batch=st.lists(messages, max_size=4))
def test_byte_by_byte(batch):
    receiving = decoder()
    *early, last = [receiving.feed(bytes([byte])) for byte in encode_frame(batch)]
    assert not any(early)
    assert last == batch


@given(garbage=st.binary(min_size=1, max_size=200))
def test_garbage_in_a_frame_is_a_frame_error_or_messages_never_anything_else(garbage):
    try:
        received = decoder().feed(struct.pack("<I", len(garbage)) + garbage)
    except FrameError:
        return
    assert all(isinstance(message, PeerMessage) for message in received)


def test_the_length_is_little_endian_and_counts_the_body():
    frame = encode_frame([Borrowed(7)])
    assert struct.unpack("<I", frame[:4]) == (len(frame) - 4,)
    assert msgspec.msgpack.decode(frame[4:]) == [[2, 7]]


def test_an_incomplete_frame_gives_nothing_yet():
    frame = encode_frame([Borrowed(7)])
    receiving = decoder()
    assert receiving.feed(frame[:-1]) == []
    assert receiving.feed(frame[-1:]) == [Borrowed(7)]


def test_a_frame_may_be_empty():
    assert decoder().feed(encode_frame([])) == []


def test_an_announced_length_above_the_limit_is_refused_before_the_body_arrives():
    with pytest.raises(FrameError, match=f"{frames.MAX_FRAME_BYTES + 1} bytes announced"):
        decoder().feed(struct.pack("<I", frames.MAX_FRAME_BYTES + 1))


def test_too_much_for_one_frame_is_refused_by_the_sender(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    assert encode_frame([Want([b"x" * 50])])
    with pytest.raises(ValueError, match="exceeds the limit of 100 bytes; pass large values as objects"):
        encode_frame([Want([b"x" * 100])])


def test_a_message_of_another_link_is_a_frame_error():
    foreign = msgspec.msgpack.encode([[99, 1]])
    with pytest.raises(FrameError, match="undecodable frame"):
        decoder().feed(struct.pack("<I", len(foreign)) + foreign)


def test_nesting_deeper_than_the_decoder_follows_is_a_frame_error():
    # A further field of a known message is skipped, however it is made.
    body = b"\x91\x93\x02\x07" + b"\x91" * 200_000
    with pytest.raises(FrameError, match="undecodable frame"):
        decoder().feed(struct.pack("<I", len(body)) + body)


def test_fields_added_by_a_later_version_are_skipped():
    body = msgspec.msgpack.encode([[2, 7, "a later field"]])
    assert decoder().feed(struct.pack("<I", len(body)) + body) == [Borrowed(7)]
