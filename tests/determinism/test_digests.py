"""Digests against the formula by hand; whatever names an array's bytes must show, nothing else."""

import hashlib

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from bitexact.determinism.digests import digest, fingerprint

BOTH = pytest.mark.parametrize("name_of", [digest, fingerprint])


def weights() -> dict[str, np.ndarray]:
    return {
        "W1": np.arange(6, dtype=np.float32).reshape(2, 3),
        "W2": np.array([0.5, -0.25, np.inf], np.float32),
    }


BY_HAND = (
    b"W1|<f4|(2, 3)|"
    + bytes.fromhex("00000000 0000803f 00000040 00004040 00008040 0000a040")
    + b"W2|<f4|(3,)|"
    + bytes.fromhex("0000003f 000080be 0000807f")
)


def test_a_digest_is_sha_256_of_names_dtypes_shapes_and_bytes():
    assert digest(weights()) == hashlib.sha256(BY_HAND).hexdigest()


def test_a_fingerprint_is_xxh3_of_the_same():
    assert fingerprint(weights()) == xxhash.xxh3_128_hexdigest(BY_HAND)


@BOTH
def test_the_order_of_names_does_not_matter(name_of):
    backwards = dict(reversed(weights().items()))
    assert list(backwards) == ["W2", "W1"]
    assert name_of(backwards) == name_of(weights())


@BOTH
@given(name=st.sampled_from(["W1", "W2"]), bit=st.integers(0, 95))
def test_every_bit_matters(name_of, name, bit):
    altered = weights()
    altered[name].view(np.uint32).flat[bit // 32] ^= np.uint32(1 << bit % 32)
    assert name_of(altered) != name_of(weights())


@BOTH
def test_minus_zero_is_not_zero(name_of):
    assert name_of({"a": np.float32([0.0])}) != name_of({"a": np.float32([-0.0])})


@BOTH
@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"b": np.zeros(4, np.float32)}, id="name"),
        pytest.param({"a": np.zeros(4, np.int32)}, id="dtype"),
        pytest.param({"a": np.zeros(2, np.float64)}, id="dtype and shape"),
        pytest.param({"a": np.zeros((2, 2), np.float32)}, id="shape"),
        pytest.param({"a": np.zeros((4, 1), np.float32)}, id="dimensions"),
        pytest.param({"a": np.zeros(3, np.float32)}, id="length"),
        pytest.param({"a": np.zeros(4, np.float32), "b": np.zeros(0, np.float32)}, id="one more, empty"),
        pytest.param({}, id="nothing"),
    ],
)
def test_name_dtype_and_shape_matter(name_of, other):
    assert name_of(other) != name_of({"a": np.zeros(4, np.float32)})


@BOTH
def test_a_number_without_dimensions_is_not_an_array_of_one(name_of):
    assert name_of({"a": np.array(1.0, np.float32)}) != name_of({"a": np.array([1.0], np.float32)})


@BOTH
def test_bytes_moved_from_one_array_to_the_next_matter(name_of):
    first = {"a": np.float32([1, 2]), "b": np.float32([3])}
    assert name_of({"a": np.float32([1]), "b": np.float32([2, 3])}) != name_of(first)


@BOTH
def test_memory_layout_does_not_matter(name_of):
    w1 = weights()["W1"]
    in_columns, every_second = np.asfortranarray(w1), np.repeat(w1, 2, axis=1)[:, ::2]
    assert not in_columns.flags.c_contiguous
    assert not every_second.flags.c_contiguous
    read_only, big_endian = w1.copy(), w1.astype(">f4")
    read_only.flags.writeable = False
    expected = name_of({"W1": w1})
    assert [name_of({"W1": a}) for a in (in_columns, every_second, read_only, big_endian)] == [expected] * 4


@BOTH
def test_digesting_leaves_the_arrays_alone(name_of):
    arrays = weights()
    name_of(arrays)
    assert name_of(arrays) == name_of(weights())
    assert {array.dtype.str for array in arrays.values()} == {"<f4"}
