"""Weights as arrays: the same bits on the other side, with no copy that need not be."""

import pickle

import pytest
import torch
from torch import Tensor

from adaswitch.cluster import weight_arrays
from adaswitch.cluster.weight_arrays import WeightArrays, WeightPieces, arrays_to_weights


def stored(piece: WeightArrays) -> WeightArrays:
    """What readers get of ``piece`` from Ray's object store: arrays over memory that is shared and read-only."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(piece, protocol=5, buffer_callback=buffers.append)
    kept: WeightArrays = pickle.loads(head, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not any(each.array.flags.writeable for each in kept.values())
    return kept


def travelled(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    pieces = [stored(piece) for piece in WeightPieces(dtype).of(weights)]
    return {name: tensor for piece in pieces for name, tensor in arrays_to_weights(piece).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_bytes", [1, 64, 2**20])
def test_weights_arrive_as_they_are_in_the_students_number_type(
    dtype: torch.dtype, num_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_arrays, "PIECE_BYTES", num_bytes)
    weights = {
        "matrix": torch.randn(3, 5),
        "ready": torch.randn(7).to(dtype),
        "transposed": torch.randn(4, 2).to(dtype).t(),
        "number": torch.tensor(2.5),
        "nothing": torch.zeros(0, 4),
        "extreme": torch.tensor([float("nan"), float("inf"), -0.0, 1e-42]),
        "parameter": torch.nn.Parameter(torch.randn(2, 2, 2)),
    }
    back = travelled(weights, dtype)
    assert list(back) == list(weights)
    for name, tensor in weights.items():
        expected = tensor.detach().to(dtype)
        assert (back[name].dtype, back[name].shape) == (dtype, tensor.shape)
        torch.testing.assert_close(back[name], expected, rtol=0, atol=0, equal_nan=True)


def test_weights_that_need_no_conversion_are_not_copied_on_either_side() -> None:
    weights = {"w": torch.randn(100), "b": torch.randn(10)}
    [piece] = WeightPieces(torch.float32).of(weights)
    for name, tensor in arrays_to_weights(piece).items():
        assert tensor.data_ptr() == weights[name].data_ptr()


def test_the_same_memory_converts_every_piece_of_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_arrays, "PIECE_BYTES", 16)
    pieces = WeightPieces(torch.bfloat16)
    for version in (1.0, 2.0):
        weights = {f"w{number}": torch.full((8,), version + number) for number in range(4)}
        places, back = [], {}
        for piece in pieces.of(weights):
            places += [each.array.ctypes.data for each in piece.values()]
            back |= arrays_to_weights(stored(piece))
        assert places == [pieces._buffer.data_ptr()] * 4
        assert all(torch.equal(back[name], weights[name].bfloat16()) for name in weights)


def test_pieces_hold_at_least_one_parameter_and_no_more_bytes_than_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weight_arrays, "PIECE_BYTES", 40)
    sizes = {"a": 4, "b": 6, "c": 1, "huge": 50, "d": 10}
    weights = {name: torch.zeros(size) for name, size in sizes.items()}
    pieces = [list(piece) for piece in WeightPieces(torch.float32).of(weights)]
    assert pieces == [["a", "b"], ["c"], ["huge"], ["d"]]
