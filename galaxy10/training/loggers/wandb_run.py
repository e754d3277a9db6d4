"""`logger.experiment` for W&B: an object that sends calls to the wandb.Run in another process."""

from collections.abc import Callable, Mapping
from typing import Any

from galaxy10.training.loggers.wandb_process import WandbProcess

_NOT_FROM_HERE = ("watch", "unwatch", "use_artifact", "use_model", "restore", "finish")


class NullProcess:
    """A stand-in for `WandbProcess` that logs nothing, if W&B is disabled or this is not rank 0."""

    facts: Mapping[str, str] = {}

    def call(self, path: tuple[str, ...], *arguments: Any, **keywords: Any) -> None:
        """Do nothing."""

    def warn_once(self, topic: str, text: str) -> None:
        """Log nothing."""


class RemoteRun:
    """A proxy for the `wandb.Run` in another process.

    Calls of methods (`log`, `define_metric`, `log_artifact`, …) are sent to that process and return None. `config` and
    `summary` hold only values that were set through this object. `id`, `name`, `project`, `entity`, `group` and `tags`
    are those of the settings; `url` and `dir` are None until W&B has started.
    """

    _process: WandbProcess | NullProcess
    config: "RemoteDict"
    summary: "RemoteDict"

    def __init__(self, process: WandbProcess | NullProcess, identity: Mapping[str, Any], config: Mapping[str, Any]):
        vars(self).update(
            _process=process,
            config=RemoteDict(process, "config", config),
            summary=RemoteDict(process, "summary"),
            **identity,
        )

    @property
    def url(self) -> str | None:
        """The URL of the run's page; None offline."""
        return self._process.facts.get("url")

    @property
    def dir(self) -> str | None:
        """The directory of W&B's files for this start."""
        return self._process.facts.get("dir")

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **keywords: Any) -> None:
            if name in _NOT_FROM_HERE:
                self._process.warn_once(name, f"experiment.{name} is not supported here and left out")
            else:
                self._process.call((name,), *arguments, **keywords)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[name] = value
        self._process.call(("__setattr__",), name, value)


class RemoteDict(dict[str, Any]):
    """The config or summary of a `RemoteRun`: a dict whose changes are sent to the other process."""

    _process: WandbProcess | NullProcess
    _name: str

    def __init__(self, process: WandbProcess | NullProcess, name: str, content: Mapping[str, Any] | None = None):
        super().__init__(content or {})
        vars(self).update(_process=process, _name=name)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *content: Any, allow_val_change: bool | None = None, **more: Any) -> None:
        """Set several keys; values of existing keys may change, also in the config."""
        changes = dict(*content, **more)
        super().update(changes)
        allowed = {"allow_val_change": True} if self._name == "config" else {}
        self._process.call((self._name, "update"), changes, **allowed)

    def setdefaults(self, content: Mapping[str, Any]) -> None:
        """Set the keys that have no value yet."""
        self.update({key: value for key, value in content.items() if key not in self})
