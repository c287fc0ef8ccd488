"""Which arguments a target takes, and of which kinds: a config is compared with its signature.

Libraries often ignore what they do not know, or fail an hour later. So names and plain values are compared
before anything is built. What a signature does not say (``**kwargs``, classes, arrays) is left to the target.
"""

import collections.abc
import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from busi.core.targets import SECTIONS, find_target, target_nodes
from busi.core.types import InputError

SPECIAL = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_"})
"""Keys of a node that are Hydra's."""
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text (a number in quotes is one)",
}
PLAIN = (bool, int, float, str)
LISTS = (list, tuple)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def check_arguments(config: Mapping[str, Any]) -> None:
    """Check the arguments of everything that the config of a run builds.

    Args:
        config: Plain values, interpolations resolved; its targets are in `busi.core.targets.TABLE` or
            trusted.

    Raises:
        InputError: If a target does not take an argument, or none of such a kind.
    """
    typed_elsewhere = ("data", "module", "score")  # they repeat what other groups are given
    for section, node in sorted(config.items(), key=lambda item: item[0] in typed_elsewhere):
        for path, target, arguments in target_nodes(node, str(section)):
            made = find_target(target, SECTIONS.get(section, section))
            if made is not None:
                _check_node(path, str(target), made, arguments)


def _check_node(path: str, target: str, made: Any, arguments: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):  # of C code
        return
    named = [
        name for name, one in parameters.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters.values())
    function = made.__init__ if isinstance(made, type) else inspect.unwrap(made)
    for name, value in arguments.items():
        if name in SPECIAL:
            continue
        if name not in named:
            if takes_any:
                continue
            close = difflib.get_close_matches(name, named, 1)
            hint = f"did you mean {path}.{close[0]}?" if close else f"it takes {', '.join(named) or 'none'}"
            raise InputError(f"{path}.{name}: {target} has no argument {name}: {hint}")
        if words := find_misfit(value, _kind(parameters[name], function)):
            raise InputError(f"{path}.{name}={as_typed(value)}: give {words}")


def _kind(parameter: inspect.Parameter, function: Any) -> Any:
    """The annotation of an argument; without one, numbers stay numbers, and switches stay switches."""
    kind = parameter.annotation
    if kind is parameter.empty:
        return {bool: bool, int: float, float: float}.get(type(parameter.default), Any)
    if not isinstance(kind, str):
        return kind
    try:
        named = types.SimpleNamespace(__annotations__={"kind": kind})
        return typing.get_type_hints(named, getattr(function, "__globals__", {}))["kind"]
    except (NameError, AttributeError, TypeError, SyntaxError):  # it exists for type checkers alone
        return Any


def find_misfit(value: object, kind: Any) -> str | None:
    """In words, what a value should be; None if it is of a kind, or the kind says nothing about it.

    Args:
        value: Plain: text, number, true or false, null, or lists and mappings of them.
        kind: An annotation.
    """
    members = list(_members(kind))
    if value is None or not all(_is_known(one) for one in members):
        return None
    if isinstance(value, dict) and "_target_" in value:
        return None
    if any(_fits(value, one) for one in members):
        return None
    literals = [
        as_typed(x) for one in members if typing.get_origin(one) is typing.Literal for x in one.__args__
    ]
    words = [WORDS[one] for one in members if one in WORDS and not (one is int and float in members)]
    words += [f"one of {', '.join(dict.fromkeys(literals))}"] * bool(literals)
    words += [_say_list(one) for one in members if _origin(one) in LISTS or _is_sequence(one)][:1]
    words += ["a mapping"] * any(_origin(one) in MAPPINGS for one in members)
    words += ["null"] * (type(None) in members)
    return " or ".join(words) or None


def as_typed(value: object) -> str:
    """A value as on the command line."""
    if isinstance(value, (Sequence, Mapping)) and not isinstance(value, str):
        if isinstance(value, Mapping):
            return f"{{{','.join(f'{name}:{as_typed(x)}' for name, x in value.items())}}}"
        return f"[{','.join(map(as_typed, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _say_list(kind: Any) -> str:
    inner = {one for arg in typing.get_args(kind) for one in _members(arg)}
    whole, numbers = bool(inner) and inner <= {int, Ellipsis}, inner & {int, float} and str not in inner
    return "a list of whole numbers" if whole else "a list of numbers" if numbers else "a list"


def _members(kind: Any) -> Iterator[Any]:
    """What a union consists of."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _members(one)
    elif origin is typing.Annotated:
        yield from _members(typing.get_args(kind)[0])
    else:
        yield kind


def _origin(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


def _is_sequence(kind: Any) -> bool:
    return _origin(kind) in (collections.abc.Sequence, collections.abc.Iterable)


def _is_known(kind: Any) -> bool:
    """Whether a kind says which plain values are of it. A tensor is none of them."""
    if kind in PLAIN or kind is type(None) or typing.get_origin(kind) is typing.Literal:
        return True
    tensor = isinstance(kind, type) and f"{kind.__module__}.{kind.__name__}" == "torch.Tensor"
    return tensor or _origin(kind) in LISTS or _origin(kind) in MAPPINGS or _is_sequence(kind)


def _fits(value: object, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in PLAIN:
        return type(value) is kind
    if typing.get_origin(kind) is typing.Literal:
        return any(type(x) is type(value) and x == value for x in typing.get_args(kind))
    if isinstance(value, dict):
        return _origin(kind) in MAPPINGS
    if isinstance(value, list) and (_origin(kind) in LISTS or _is_sequence(kind)):
        inner = [one for one in typing.get_args(kind) if one is not Ellipsis]
        return not inner or not any(all(find_misfit(x, one) for one in inner) for x in value)
    return False
