"""Trust: which code a checkpoint may name. A user's package runs only if the user has named it.

A checkpoint or run directory can come from anyone, and a `_target_` in it is enough to run a function. So every
`_target_`, at any depth, is checked by the object that it resolves to, and a user's package is imported only if it is
trusted. Allowed without trust: classes defined in galaxy10; model builders of timm and torchvision; modules, losses,
optimizers and schedulers of torch; metrics of torchmetrics. Functions that can run code, such as torch.load and
torch.hub.load, are never allowed.
"""

import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from galaxy10.config.building import TARGET, iter_targets, resolve
from galaxy10.config.user_code import TRUST_VARIABLE, trusted_packages
from galaxy10.errors import Galaxy10Error
from galaxy10.foreign_files import check_values

_READ_FROM_DISK = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")  # of timm's builders


def trust(packages: Iterable[str]) -> None:
    """Trust packages until this process ends, also in the processes it starts.

    Raises:
        Galaxy10Error: a name is no package name, or belongs to Python's standard library.
    """
    names = {name.strip() for name in packages}
    for name in names:
        if name in sys.stdlib_module_names:
            raise Galaxy10Error(
                f"--trust {name} is a module of Python itself, with which a checkpoint could run anything; "
                "give the name of your own package, such as mypkg"
            )
        if not name.isidentifier():
            raise Galaxy10Error(f"--trust {name} is no package name; give the name that is imported, such as mypkg")
    os.environ[TRUST_VARIABLE] = ",".join(sorted(trusted_packages() | names))


def trust_configuration(config: Mapping[str, Any]) -> None:
    """Trust the packages that a composed configuration names, because the user typed or wrote it.

    Args:
        config: the configuration composed from this command line, never one that was read from a run directory.
    """
    roots = {node[TARGET].partition(".")[0] for _, node in iter_targets(config)}
    known = {*_KNOWN, *sys.stdlib_module_names}
    trust(root for root in roots if root.isidentifier() and root not in known)


def check_trusted(config: Any, origin: str) -> None:
    """Check every `_target_` of a configuration that was read from a checkpoint.

    Args:
        origin: the checkpoint's path, for messages.

    Raises:
        Galaxy10Error: a `_target_` is neither trusted nor known to be harmless; says what to type to trust it.
    """
    try:
        check_values(config)
    except ValueError as error:
        raise Galaxy10Error(f"{origin}: no configuration ({error}); use a checkpoint that galaxy10 wrote") from error
    for where, node in iter_targets(config):
        _check_target(where, node, origin)


def _check_target(where: str, node: Mapping[str, Any], origin: str) -> None:
    path = str(node[TARGET])
    root = path.partition(".")[0]
    trusted = trusted_packages()
    if root not in (*trusted, *_KNOWN, *sys.stdlib_module_names):
        raise Galaxy10Error(
            f"{origin} names code of the package {root} ({where}: {path}), which is not trusted; if you know where "
            f"it comes from, add --trust {root} (or set {TRUST_VARIABLE}={root})"
        )
    if root in sys.stdlib_module_names:
        raise _never_run(origin, path, where)
    found = resolve(path, where)
    # Checked by the object, not its path: mypkg.os.system does not belong to mypkg.
    owner = str(getattr(found, "__module__", None)).partition(".")[0]
    if (owner in trusted and owner not in _KNOWN) or (owner in _KNOWN and _KNOWN[owner](found, node)):
        return
    raise _never_run(origin, path, where)


def _never_run(origin: str, path: str, where: str) -> Galaxy10Error:
    return Galaxy10Error(
        f"{origin} names {path} ({where}), which is no network, loss, optimizer, scheduler or metric and is never run; "
        "use a checkpoint that galaxy10 wrote"
    )


def _is_class_of(found: Any, package: str) -> bool:
    return inspect.isclass(found) and (found.__module__ == package or found.__module__.startswith(f"{package}."))


def _of_galaxy10(found: Any, node: Mapping[str, Any]) -> bool:
    from torch import nn

    return _is_class_of(found, "galaxy10") and issubclass(found, nn.Module)


def _of_torch(found: Any, node: Mapping[str, Any]) -> bool:
    from torch import nn, optim

    kinds = (nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler)
    return _is_class_of(found, "torch") and issubclass(found, kinds)


def _of_torchmetrics(found: Any, node: Mapping[str, Any]) -> bool:
    from torchmetrics import Metric

    return _is_class_of(found, "torchmetrics") and issubclass(found, Metric)


def _of_timm(found: Any, node: Mapping[str, Any]) -> bool:
    import timm

    if node.get("pretrained") or any(name in node for name in _READ_FROM_DISK) or "_args_" in node:
        return False
    if ":" in str(node.get("model_name", "")):  # hf-hub:… and local-dir:… are read from elsewhere
        return False
    return found is timm.create_model or (
        inspect.isfunction(found) and timm.is_model(found.__name__) and timm.model_entrypoint(found.__name__) is found
    )


def _of_torchvision(found: Any, node: Mapping[str, Any]) -> bool:
    from torchvision import models

    if node.get("weights") or node.get("weights_backbone") or "_args_" in node:
        return False
    return inspect.isfunction(found) and any(
        models.get_model_builder(name) is found for name in models.list_models() if name == found.__name__
    )


_KNOWN = {
    "galaxy10": _of_galaxy10,
    "torch": _of_torch,
    "torchmetrics": _of_torchmetrics,
    "timm": _of_timm,
    "torchvision": _of_torchvision,
}
