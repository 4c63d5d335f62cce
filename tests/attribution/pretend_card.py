"""A card that is not there: tensors that say they are on one and are computed on the processor.

Where a machine has no accelerator, this holds the code to the one rule that a real card would
break on: tensors of two devices never meet, but through `.to`, `.cpu` or `copy_`. As on a real
card, numbers without a dimension may come from the processor, and so may indices.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

# A kind of device that torch knows and has nothing behind.
CARD = torch.device("lazy", 0)
_CPU = torch.device("cpu")
_MOVES = {"copy_", "_to_copy"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


class CardTensor(torch.Tensor):
    """A tensor on the card; `held` is where its numbers really are."""

    @staticmethod
    def __new__(cls, held):
        """Wrap a tensor of the processor."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=CARD,
            requires_grad=held.requires_grad,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"CardTensor({self.held!r})"

    def __tensor_flatten__(self):
        """Say what it wraps: modules then swap their parameters for wrapped ones."""
        return ["held"], None

    @classmethod
    def __tensor_unflatten__(cls, inner, *_):
        """Wrap again."""
        return cls(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class Card(TorchDispatchMode):
    """Inside the block tensors can be made on the card and moved to it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


def _computed(func, args, kwargs):
    """Compute on the processor what the card would, after its rule."""
    name, place = func.overloadpacket.__name__, kwargs.get("device")
    on_card = any(isinstance(part, CardTensor) for part in tree_flatten((args, kwargs))[0])
    if not on_card and place != CARD:
        return func(*args, **kwargs)
    if on_card and name not in _MOVES:
        _refuse_two_devices(name, args, kwargs)
    leaves = name == "_to_copy" and place == _CPU
    inner = {**kwargs, "device": _CPU} if place is not None else kwargs
    found = func(*tree_map(_held, args), **tree_map(_held, inner))
    if leaves:
        return found
    if name == "copy_" and not isinstance(args[0], CardTensor):
        return args[0]
    return return_and_correct_aliasing(func, args, kwargs, tree_map(_on_card, found))


def _refuse_two_devices(name, args, kwargs):
    for place, part in enumerate(args):
        if name not in _INDEXED or place != 1:
            for found in tree_flatten(part)[0]:
                _refuse(name, found)
    for found in tree_flatten(kwargs)[0]:
        _refuse(name, found)


def _refuse(name, found):
    if isinstance(found, torch.Tensor) and not isinstance(found, CardTensor) and found.dim():
        raise RuntimeError(f"{name}: all tensors must be on one device, got {found.device}")


def _held(found):
    return found.held if isinstance(found, CardTensor) else found


def _on_card(found):
    plain = isinstance(found, torch.Tensor) and not isinstance(found, CardTensor)
    return CardTensor(found) if plain else found
