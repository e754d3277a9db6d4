"""Build objects from `_target_` and keyword arguments, in the same way for this package's classes and a user's."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from galaxy10.config.fields import did_you_mean
from galaxy10.config.user_code import describe_failure
from galaxy10.errors import Galaxy10Error, first_line

TARGET = "_target_"
HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def resolve(path: str, key: str) -> Any:
    """Return the callable that a dotted path names.

    Args:
        path: a dotted path, such as torch.optim.AdamW.
        key: the setting that holds the path, for messages.

    Raises:
        Galaxy10Error: the module cannot be imported or has no such name, or the object is not callable.
    """
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):
        raise Galaxy10Error(f"{key}={path} is no dotted path; give one such as torch.optim.AdamW")
    found: Any = None
    for number in range(1, len(parts) + 1):
        module = ".".join(parts[:number])
        if number > 1 and hasattr(found, parts[number - 1]):
            found = getattr(found, parts[number - 1])
            continue
        if found is not None and not inspect.ismodule(found):
            raise _has_no(key, path, found, parts[number - 1])
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
                raise Galaxy10Error(f"{key}={path}: {module} needs the module {error.name}; install it") from error
            if number > 1:
                raise _has_no(key, path, found, parts[number - 1]) from error
            raise Galaxy10Error(
                f"{key}={path}: there is no module {module}; run from the folder that holds it, add that folder to "
                "PYTHONPATH, or pip install -e it"
            ) from error
        except Exception as error:  # a user's module can raise anything at import
            raise Galaxy10Error(
                f"{key}={path}: importing {module} fails: {type(error).__name__}: {first_line(error)}"
            ) from error
    if not callable(found):
        raise Galaxy10Error(f"{key}={path} cannot be called; give a class or a function")
    return found


def _has_no(key: str, path: str, owner: Any, name: str) -> Galaxy10Error:
    known = [word for word in dir(owner) if not word.startswith("_")]
    whose = getattr(owner, "__name__", str(owner))
    return Galaxy10Error(f"{key}={path}: {whose} has no {name}{did_you_mean(name, known)}")


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the keyword parameters of a class or function; None if it accepts any.

    If the `__init__` of a class has **kwargs, the parameters of its base classes are included.
    """
    if not inspect.isclass(function):
        return _keywords(function)
    found: dict[str, inspect.Parameter] = {}
    for owner in function.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        own = _keywords(vars(owner)["__init__"])
        found = {**_named(vars(owner)["__init__"]), **found}
        if own is not None:
            break
    else:
        if any("__init__" in vars(owner) for owner in function.__mro__[:-1]):
            return None
    found.pop("self", None)
    return found


def _signature(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in, without a signature
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _named(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in _signature(function).items() if parameter.kind in kinds}


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in _signature(function).values()):
        return None
    return _named(function)


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Return whether a class or function has a keyword parameter, itself or in a base class that gets its **kwargs."""
    if not inspect.isclass(function):
        return name in _signature(function)
    for owner in function.__mro__:
        if "__init__" not in vars(owner):
            continue
        if name in _named(vars(owner)["__init__"]):
            return True
        if _keywords(vars(owner)["__init__"]) is not None:  # no **kwargs for its base classes
            return False
    return False


def _forwards(function: Callable[..., Any], name: str) -> bool:
    """Return whether a model builder of timm or torchvision forwards num_classes, which its signature does not name."""
    root = str(getattr(function, "__module__", "")).partition(".")[0]
    return name == "num_classes" and root in ("timm", "torchvision") and parameters_of(function) is None


def iter_targets(config: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every node with a `_target_` in a plain configuration, at any depth, as (dotted key, node)."""
    if isinstance(config, Mapping):
        if isinstance(config.get(TARGET), str):
            yield key, dict(config)
        for name, value in config.items():
            yield from iter_targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from iter_targets(value, f"{key}[{number}]")


def check_signatures(config: Any, key: str = "", supplied: frozenset[str] = frozenset()) -> None:
    """Check the keys of every node with a `_target_` against the signature of its class or function.

    Args:
        key: dotted key of `config` in the whole configuration, for messages.
        supplied: names of arguments that galaxy10 adds if the signature has them.

    Raises:
        Galaxy10Error: a `_target_` cannot be imported, does not take a key, or needs one that is missing.
    """
    for where, node in iter_targets(config, key):
        check_signature(where, node, supplied)


def check_signature(
    where: str, node: Mapping[str, Any], supplied: frozenset[str] = frozenset(), called_with: int | None = None
) -> None:
    """Check the keys of one node against the signature of its `_target_`; see check_signatures.

    Args:
        where: dotted key of the node.
        called_with: number of positional arguments of the later call, if the node is `_partial_`; None: unknown.
    """
    function = resolve(node[TARGET], f"{where}.{TARGET}" if where else TARGET)
    known = parameters_of(function)
    given = [name for name in node if name not in HYDRA_KEYS]
    if known is None:
        return
    for name in given:
        if name not in known:
            hint = did_you_mean(name, list(known))
            dotted = f"{where}.{name}" if where else name
            raise Galaxy10Error(f"{node[TARGET]} takes no {name}{hint} (remove it with ~{dotted})")
    if "_args_" in node or (node.get("_partial_") and called_with is None):
        return
    missing = [name for name, parameter in known.items() if parameter.default is inspect.Parameter.empty]
    missing = [name for name in missing if name not in given and name not in supplied]
    if node.get("_partial_"):
        missing = missing[called_with:]
    if missing:
        dotted = f"{where}.{missing[0]}" if where else missing[0]
        raise Galaxy10Error(f"{node[TARGET]} needs {missing[0]}; add +{dotted}=…")


def build(node: Mapping[str, Any], context: Mapping[str, Any] | None = None, key: str = "") -> Any:
    """Build the object of a configuration node with hydra.utils.instantiate.

    Texts are kept as they are: `${…}` in a checkpoint or in the class names of a file is no interpolation.

    Args:
        node: a plain mapping with `_target_`, composed and resolved; nodes inside it are built first.
        context: arguments for every class or function in the node that has such a parameter and does not set it.
        key: dotted key of the node in the configuration, for messages.

    Raises:
        Galaxy10Error: a `_target_` cannot be imported, or its call fails.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    filled = _fill(node, context or {}, key)
    try:
        return instantiate(_without_interpolations(filled), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, Galaxy10Error):
            raise cause from error
        reason = describe_failure(cause) if cause else first_line(error)
        raise Galaxy10Error(f"{key or 'this configuration'} ({node[TARGET]}) cannot be built: {reason}") from error


def text_of(characters: Sequence[int]) -> str:
    """Return the text of Unicode code points; build uses it for texts that OmegaConf would interpret.

    >>> text_of([36, 123])
    '${'
    """
    return "".join(map(chr, characters))


def _without_interpolations(node: Any) -> Any:
    """Return a configuration in which OmegaConf finds nothing to resolve.

    A resolver such as oc.decode returns new nodes with a `_target_` of any text; escaping does not help, because
    instantiate resolves a text twice.
    """
    if isinstance(node, str) and ("${" in node or node == "???"):
        return {TARGET: f"{__name__}.{text_of.__name__}", "characters": [ord(character) for character in node]}
    if isinstance(node, Mapping):
        return {name: _without_interpolations(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_interpolations(value) for value in node]
    return node


def matching_arguments(function: Callable[..., Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of `context` that are parameters of a function, or unset ones of a functools.partial."""
    given = getattr(function, "keywords", {})
    inner = getattr(function, "func", function)
    return {name: value for name, value in context.items() if name not in given and accepts(inner, name)}


def _fill(node: Any, context: Mapping[str, Any], key: str) -> Any:
    if isinstance(node, list | tuple):
        return [_fill(value, context, f"{key}[{number}]") for number, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    filled = {name: _fill(value, context, f"{key}.{name}" if key else str(name)) for name, value in node.items()}
    if isinstance(node.get(TARGET), str) and context:
        function = resolve(node[TARGET], f"{key}.{TARGET}" if key else TARGET)
        for name, value in context.items():
            if name not in filled and (accepts(function, name) or _forwards(function, name)):
                filled[name] = value
    return filled
